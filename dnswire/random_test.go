package dnswire

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// randomName appends a name of random octets.
func randomName(rng *rand.Rand, b []byte) []byte {
	for range rng.IntN(5) {
		n := 1 + rng.IntN(12)
		b = append(b, byte(n))
		for range n {
			c := byte('a' + rng.IntN(26))
			if rng.IntN(8) == 0 {
				c = byte(rng.IntN(256))
			}
			b = append(b, c)
		}
	}
	return append(b, 0)
}

func randomBytes(rng *rand.Rand, b []byte, n int) []byte {
	for range n {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}

func randomString(rng *rand.Rand, b []byte) []byte {
	n := rng.IntN(30)
	return randomBytes(rng, append(b, byte(n)), n)
}

func randomBitmap(rng *rand.Rand, b []byte) []byte {
	for window := rng.IntN(3); window < 256; window += 1 + rng.IntN(200) {
		n := 1 + rng.IntN(8)
		if rng.IntN(4) == 0 {
			n = 1 + rng.IntN(32)
		}
		b = append(b, byte(window), byte(n))
		for range n - 1 {
			b = append(b, byte(rng.Uint32()&rng.Uint32()&rng.Uint32()))
		}
		b = append(b, 1<<rng.IntN(8))
	}
	return b
}

func randomParams(rng *rand.Rand, b []byte) []byte {
	var present []int
	for key := range 12 {
		if key != svcbMandatory && key < 9 && rng.IntN(3) == 0 {
			present = append(present, key)
		}
	}
	if rng.IntN(2) == 0 {
		present = append(present, 100+rng.IntN(60000))
	}
	param := func(key int, value []byte) {
		b = binary.BigEndian.AppendUint16(b, uint16(key))
		b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
		b = append(b, value...)
	}
	if len(present) > 0 && rng.IntN(3) == 0 {
		var value []byte
		for _, key := range present[:1+rng.IntN(len(present))] {
			value = binary.BigEndian.AppendUint16(value, uint16(key))
		}
		param(svcbMandatory, value)
	}
	for _, key := range present {
		var value []byte
		switch key {
		case svcbALPN:
			for range 1 + rng.IntN(3) {
				n := 1 + rng.IntN(9)
				value = randomBytes(rng, append(value, byte(n)), n)
			}
		case svcbNoDefaultALPN, svcbOHTTP:
		case svcbPort:
			value = randomBytes(rng, nil, 2)
		case svcbIPv4Hint:
			value = randomBytes(rng, nil, 4*(1+rng.IntN(3)))
		case svcbIPv6Hint:
			value = randomBytes(rng, nil, 16*(1+rng.IntN(3)))
		default:
			value = randomBytes(rng, nil, rng.IntN(40))
		}
		param(key, value)
	}
	return b
}

func randomLOC(rng *rand.Rand, b []byte) []byte {
	b = append(b, 0)
	for range 3 {
		b = append(b, byte(rng.IntN(10)<<4|rng.IntN(10)))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(locEquator+rng.IntN(2*90*locDegree+1)-90*locDegree))
	b = binary.BigEndian.AppendUint32(b, uint32(locEquator+rng.Int64N(2*180*locDegree+1)-180*locDegree))
	return randomBytes(rng, b, 4)
}

func randomAPL(rng *rand.Rand, b []byte) []byte {
	for range rng.IntN(4) {
		family, size := byte(1), 4
		if rng.IntN(2) == 0 {
			family, size = 2, 16
		}
		prefix := rng.IntN(size*8 + 1)
		addr := randomBytes(rng, nil, size)
		for i := range addr { // what lies behind the prefix is zero
			if keep := prefix - i*8; keep <= 0 {
				addr[i] = 0
			} else if keep < 8 {
				addr[i] &= 0xff << (8 - keep)
			}
		}
		addr = bytes.TrimRight(addr, "\x00")
		b = append(b, 0, family, byte(prefix), byte(len(addr)|rng.IntN(2)<<7))
		b = append(b, addr...)
	}
	return b
}

func randomGateway(rng *rand.Rand, f field, b []byte) []byte {
	kind := rng.IntN(4)
	if f == fRelay {
		b = append(b, byte(kind|rng.IntN(2)<<7))
	} else {
		b = append(b, byte(kind), byte(rng.Uint32()))
	}
	switch kind {
	case gatewayIPv4:
		return randomBytes(rng, b, 4)
	case gatewayIPv6:
		return randomBytes(rng, b, 16)
	case gatewayName:
		return randomName(rng, b)
	}
	return b
}

// randomRData makes RDATA that is good for the type.
func randomRData(rng *rand.Rand, t Type) (b []byte) {
	for _, f := range t.layout().fields {
		if size := int(fieldSize[f]); size > 0 {
			b = randomBytes(rng, b, size)
			continue
		}
		switch f {
		case fEnd:
			return b
		case fName:
			b = randomName(rng, b)
		case fString:
			b = randomString(rng, b)
		case fStringOr:
			if rng.IntN(2) == 0 {
				b = randomString(rng, b)
			}
		case fStrings:
			for range 1 + rng.IntN(3) {
				b = randomString(rng, b)
			}
		case fTag:
			n := 1 + rng.IntN(9)
			b = append(b, byte(n))
			for range n {
				b = append(b, "abcdefghijklmnopqrstuvwxyz0123456789"[rng.IntN(36)])
			}
		case fHex, fHEX, fBase64, fNSAP, fKey:
			b = randomBytes(rng, b, 1+rng.IntN(60))
		case fQuoted, fHex0, fBase640, fDOAData, fRaw:
			b = randomBytes(rng, b, rng.IntN(60))
		case fSalt:
			n := rng.IntN(20)
			b = randomBytes(rng, append(b, byte(n)), n)
		case fHash:
			n := 1 + rng.IntN(32)
			b = randomBytes(rng, append(b, byte(n)), n)
		case fSizedHex, fSizedHEX:
			n := rng.IntN(40)
			b = randomBytes(rng, append(b, 0, byte(n)), n)
		case fBitmap:
			b = randomBitmap(rng, b)
		case fNXT:
			b = append(randomBytes(rng, append(b, byte(rng.IntN(128))), rng.IntN(15)), 1)
		case fParams:
			b = randomParams(rng, b)
		case fLOC:
			b = randomLOC(rng, b)
		case fAPL:
			b = randomAPL(rng, b)
		case fHIP:
			hit, key := rng.IntN(20), 1+rng.IntN(40)
			b = append(b, byte(hit), byte(rng.Uint32()), 0, byte(key))
			b = randomBytes(rng, b, hit+key)
			for range rng.IntN(3) {
				b = randomName(rng, b)
			}
		case fIPSEC, fRelay:
			b = randomGateway(rng, f, b)
		case fA6:
			prefix := rng.IntN(129)
			b = randomBytes(rng, append(b, byte(prefix)), (128-prefix+7)/8)
			if prefix > 0 {
				b = randomName(rng, b)
			}
		case fWKS:
			b = randomBytes(rng, b, rng.IntN(4))
		}
	}
	return b
}

// oneRecord makes a response with one answer.
func oneRecord(t Type, rdata []byte) []byte {
	b := []byte{0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'o', 'r', 'g', 0}
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	b = append(b, 0, 1, 0xc0, 12)
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	b = append(b, 0, 1, 0, 0, 0, 60)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rdata)))
	return append(b, rdata...)
}
