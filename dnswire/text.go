package dnswire

import (
	"encoding/base32"
	"encoding/base64"
	"net/netip"
	"strconv"
)

const (
	hexLower = "0123456789abcdef"
	hexUpper = "0123456789ABCDEF"
)

func appendHex(dst, b []byte, digits string) []byte {
	for _, c := range b {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}

func (m *Message) appendHex(dst, b []byte, digits string) []byte {
	cut := min(len(b), m.Limits.data())
	return appendCut(appendHex(dst, b[:cut], digits), len(b)-cut, "octets")
}

func (m *Message) appendBase64(dst, b []byte) []byte {
	cut := min(len(b), m.Limits.data())
	return appendCut(appendBase64(dst, b[:cut]), len(b)-cut, "octets")
}

func appendBase64(dst, b []byte) []byte { return base64.StdEncoding.AppendEncode(dst, b) }

var base32Hex = base32.HexEncoding.WithPadding(base32.NoPadding)

func appendBase32Hex(dst, b []byte) []byte { return base32Hex.AppendEncode(dst, b) }

// appendCut tells what a limit has left out, as a comment of zone files.
func appendCut(dst []byte, left int, of string) []byte {
	if left <= 0 {
		return dst
	}
	dst = strconv.AppendUint(append(dst, " ; +"...), uint64(left), 10)
	return append(append(dst, ' '), of...)
}

// appendGroups appends b as hex in groups of n octets.
func appendGroups(dst, b []byte, n int, sep byte, digits string) []byte {
	for i := 0; i < len(b); i += n {
		if i > 0 {
			dst = append(dst, sep)
		}
		dst = appendHex(dst, b[i:i+n], digits)
	}
	return dst
}

func appendIPv4(dst, b []byte) []byte {
	_ = b[3]
	dst = appendOctet(dst, b[0])
	dst = appendOctet(append(dst, '.'), b[1])
	dst = appendOctet(append(dst, '.'), b[2])
	return appendOctet(append(dst, '.'), b[3])
}

func appendOctet(dst []byte, c byte) []byte {
	switch {
	case c >= 100:
		return append(dst, '0'+c/100, '0'+c/10%10, '0'+c%10)
	case c >= 10:
		return append(dst, '0'+c/10, '0'+c%10)
	}
	return append(dst, '0'+c)
}

func appendIPv6(dst, b []byte) []byte {
	return netip.AddrFrom16([16]byte(b)).AppendTo(dst)
}

// appendTime appends seconds since 1970 as YYYYMMDDHHmmSS (RFC 4034 section
// 3.2). The 32 bits of RRSIG are serial numbers (section 3.1.5); they are taken
// as they stand, so that the text does not depend on the clock of the reader.
func appendTime(dst []byte, t uint64) []byte {
	days, secs := int64(t/86400), int(t%86400)
	// Civil date from days: years counted from March, so that the leap day is
	// the last of its year.
	z := days + 719468
	era := z / 146097
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day := int(doy - (153*mp+2)/5 + 1)
	month := int(mp + 3)
	year := yoe + era*400
	if month > 12 {
		month -= 12
		year++
	}
	if year < 1000 || year > 9999 {
		dst = strconv.AppendInt(dst, year, 10)
	} else {
		dst = appendTwo(appendTwo(dst, int(year/100)), int(year%100))
	}
	dst = appendTwo(appendTwo(dst, month), day)
	return appendTwo(appendTwo(appendTwo(dst, secs/3600), secs/60%60), secs%60)
}

func appendTwo(dst []byte, v int) []byte {
	return append(dst, '0'+byte(v/10), '0'+byte(v%10))
}

// certTypeName: RFC 4398 section 2.1.
func certTypeName(v uint16) string {
	switch v {
	case 253:
		return "URI"
	case 254:
		return "OID"
	}
	if v < uint16(len(certTypeNames)) {
		return certTypeNames[v]
	}
	return ""
}

var certTypeNames = [...]string{"", "PKIX", "SPKI", "PGP", "IPKIX", "ISPKI", "IPGP", "ACPKIX", "IACPKIX"}

// algorithmName: IANA "DNS Security Algorithm Numbers".
func algorithmName(v byte) string {
	switch {
	case int(v) < len(algorithmNames):
		return algorithmNames[v]
	case v >= 252:
		return [...]string{"INDIRECT", "PRIVATEDNS", "PRIVATEOID", ""}[v-252]
	}
	return ""
}

var algorithmNames = [...]string{
	1:  "RSAMD5",
	2:  "DH",
	3:  "DSA",
	5:  "RSASHA1",
	6:  "DSA-NSEC3-SHA1",
	7:  "RSASHA1-NSEC3-SHA1",
	8:  "RSASHA256",
	10: "RSASHA512",
	12: "ECC-GOST",
	13: "ECDSAP256SHA256",
	14: "ECDSAP384SHA384",
	15: "ED25519",
	16: "ED448",
	17: "SM2SM3",
	23: "ECC-GOST12",
}
