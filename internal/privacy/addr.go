package privacy

import (
	"crypto/aes"
	"crypto/cipher"
	"net/netip"
)

// pseudonyms are those of Crypto-PAn (Xu, Fan, Ammar, Moon: Prefix-Preserving IP
// Address Anonymization, ICNP 2002): two addresses that share their first n bits
// have pseudonyms that do, and no more. IPv6 is the same with 128 bits.
type pseudonyms struct {
	block cipher.Block
	pad   [16]byte
	in    [16]byte
	out   [16]byte
	known [4096]struct{ from, to netip.Addr }
}

func newPseudonyms(s *Secret) *pseudonyms {
	block, err := aes.NewCipher(s[:16])
	if err != nil {
		panic(err) // of the length of the key alone
	}
	p := &pseudonyms{block: block}
	block.Encrypt(p.pad[:], s[16:])
	return p
}

// of returns an address's pseudonym, which has no zone.
func (p *pseudonyms) of(a netip.Addr) netip.Addr {
	if !a.IsValid() {
		return a
	}
	a = a.Unmap().WithZone("")
	octets := a.As16()
	place := uint32(2166136261)
	for _, o := range octets {
		place = (place ^ uint32(o)) * 16777619
	}
	k := &p.known[place>>20]
	if k.from != a {
		k.from, k.to = a, p.compute(a)
	}
	return k.to
}

func (p *pseudonyms) compute(a netip.Addr) netip.Addr {
	octets := a.AsSlice()
	var otp [16]byte
	p.in = p.pad
	for i := range 8 * len(octets) {
		// The first i bits are the address's, the others the pad's.
		p.block.Encrypt(p.out[:], p.in[:])
		at, bit := i/8, byte(0x80)>>(i%8)
		if p.out[0]&0x80 != 0 {
			otp[at] |= bit
		}
		p.in[at] = p.in[at]&^bit | octets[at]&bit
	}
	for i := range octets {
		octets[i] ^= otp[i]
	}
	to, _ := netip.AddrFromSlice(octets)
	return to
}
