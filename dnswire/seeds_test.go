package dnswire

import "math/rand/v2"

// messageSeeds are small messages that reach most branches.
func messageSeeds() [][]byte {
	seeds := [][]byte{
		{}, []byte("\x00\x01"), answer,
		[]byte("\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"),          // a pointer to itself
		[]byte("\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0e\xc0\x0c\x00\x01\x00\x01"),  // a ring
		[]byte("\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x12\x00\x01\x00\x01\x01a\x00"), // forward
		[]byte("\x12\x34\x28\x00\x00\x01\x00\x00\x00\x01\x00\x00\x01z\x00\x00\x06\x00\x01" + // UPDATE
			"\x01a\xc0\x0c\x00\x01\x00\xff\x00\x00\x00\x00\x00\x00"),
		append(append([]byte{}, answer...), "rest"...),
	}
	for _, t := range []Type{TypeA, TypeAAAA, TypeSOA, TypeTXT, TypeMX, TypeSRV, TypeRRSIG, TypeNSEC, TypeHTTPS, TypeTSIG, TypeOPT} {
		for _, rdata := range seedRData(t) {
			seeds = append(seeds, oneRecord(t, rdata))
		}
	}
	return append(seeds, pointerChain(40, 20))
}

// pointerChain makes a message whose records point into a chain of pointers,
// each through a label of its own.
func pointerChain(hops, records int) []byte {
	b := []byte{0, 1, 0x81, 0x80, 0, 0, byte(records >> 8), byte(records), 0, 0, 0, 0}
	b = append(b, 0) // the chain stands in the RDATA of the first record, of the root
	b = append(b, 0, 10, 0, 1, 0, 0, 0, 0, byte((1+2*hops)>>8), byte(1+2*hops))
	to := len(b)
	b = append(b, 0)
	for range hops {
		at := len(b)
		b = append(b, 0xc0|byte(to>>8), byte(to))
		to = at
	}
	for i := range records - 1 {
		at := to - 2*(i%max(hops-1, 1))
		b = append(b, 1, 'a'+byte(i%26), 0xc0|byte(at>>8), byte(at), 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)
	}
	return b
}

// seedRData returns good RDATA of a type, and the same cut short.
func seedRData(t Type) (list [][]byte) {
	rng := rand.New(rand.NewPCG(uint64(t), 1))
	if t == TypeOPT {
		for _, seed := range []string{
			"\x00\x03\x00\x03ns1", "\x00\x08\x00\x07\x00\x01\x18\x00\xc0\x00\x02", "\x00\x08\x00\x04\x00\x00\x00\x00",
			"\x00\x0a\x00\x08abcdefgh", "\x00\x0f\x00\x05\x00\x12a;b", "\x00\x0c\x00\x04\x00\x00\x00\x01", "\x00\x0b\x00\x02\x01\x2c",
			"\x00\x09\x00\x04\x00\x00\x0e\x10", "\x00\x12\x00\x05\x03com\x00", "\x00\x05\x00\x02\x08\x0d", "\x00\x0e\x00\x02\x4a\x5c",
			"\x00\x01\x00\x12aaaaaaaaaaaaaaaaaa", "\x00\x02\x00\x04aaaa", "\x00\x13\x00\x03\x02\x00a", "\x00\x10\x00\x02aa", "\xff\xff\x00\x01a",
			"\x00\x03\x00\x00\x00\x03\x00\x00", "\x00\x03\x00\x09ns1", "\x00\x03\x00", "\x00\x08\x00\x07\x00\x03\x18\x00\xc0\x00\x02",
		} {
			list = append(list, []byte(seed))
		}
		return list
	}
	for range 2 {
		rdata := randomRData(rng, t)
		list = append(list, rdata, rdata[:len(rdata)/2])
	}
	return list
}
