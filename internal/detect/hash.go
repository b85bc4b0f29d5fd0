package detect

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// hashKey seeds hashes, so that nobody can choose names that collide. Unlike a seed of
// maphash it can be kept from run to run.
type hashKey [4]uint64

func newHashKey() (k hashKey) {
	var b [8 * len(k)]byte
	rand.Read(b[:]) // never fails
	for i := range k {
		k[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return k
}

// hash multiplies pairs of words, each masked by a part of the key, and folds the product.
// Who does not know the key can steer no product.
func (k *hashKey) hash(b []byte) uint64 {
	n := len(b)
	h := k[0]
	for ; len(b) > 16; b = b[16:] {
		h = fold(binary.LittleEndian.Uint64(b)^k[1], binary.LittleEndian.Uint64(b[8:])^k[2]^h)
	}
	var x, y uint64
	switch {
	case len(b) >= 8: // the two may overlap: the length tells
		x, y = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[len(b)-8:])
	case len(b) >= 4:
		x, y = uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[len(b)-4:]))
	case len(b) > 0:
		x = uint64(b[0])<<16 | uint64(b[len(b)/2])<<8 | uint64(b[len(b)-1])
	}
	return fold(fold(x^k[1], y^k[2]^h), k[3]^uint64(n))
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
