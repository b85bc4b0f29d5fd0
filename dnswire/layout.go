package dnswire

// The types that code refers to by name.
const (
	TypeA       Type = 1
	TypeNS      Type = 2
	TypeCNAME   Type = 5
	TypeSOA     Type = 6
	TypeNULL    Type = 10
	TypePTR     Type = 12
	TypeHINFO   Type = 13
	TypeMX      Type = 15
	TypeTXT     Type = 16
	TypeAAAA    Type = 28
	TypeLOC     Type = 29
	TypeSRV     Type = 33
	TypeNAPTR   Type = 35
	TypeDNAME   Type = 39
	TypeOPT     Type = 41
	TypeAPL     Type = 42
	TypeDS      Type = 43
	TypeSSHFP   Type = 44
	TypeRRSIG   Type = 46
	TypeNSEC    Type = 47
	TypeDNSKEY  Type = 48
	TypeNSEC3   Type = 50
	TypeTLSA    Type = 52
	TypeSVCB    Type = 64
	TypeHTTPS   Type = 65
	TypeSPF     Type = 99
	TypeTKEY    Type = 249
	TypeTSIG    Type = 250
	TypeIXFR    Type = 251
	TypeAXFR    Type = 252
	TypeANY     Type = 255
	TypeURI     Type = 256
	TypeCAA     Type = 257
	TypeTA      Type = 32768
	TypeDLV     Type = 32769
	lastInTable      = 264
)

// field is one part of a record's RDATA: how it stands on the wire and how it
// is written. Those up to the blank line have a fixed size.
type field uint8

const (
	fEnd field = iota
	fU8
	fU16
	fU32
	fU64
	fIPv4
	fIPv6
	fTime     // seconds as YYYYMMDDHHmmSS (RFC 4034 section 3.2)
	fTime48   // TSIG's, written likewise
	fType     // the name of a type
	fCertType // RFC 4398 section 2.1
	fAlg      // a DNSSEC algorithm by name, which only CERT prints so
	fNodeID   // 64 bits as 4 groups, lower case (RFC 6742 section 2.1.2)
	fLocator  // the same, upper case
	fEUI48    // RFC 7043
	fEUI64
	fScheme // RFC 9859 section 2.1

	fName     // a domain name, compressed or not
	fString   // one character-string (RFC 1035 section 3.3)
	fStrings  // one or more, to the end
	fStringOr // one or none
	fQuoted   // the rest as one quoted string
	fTag      // CAA's tag (RFC 8659 section 4.1)
	fHex      // the rest, one octet at least, lower case
	fHEX      // the same, upper case
	fHex0     // the rest, which may be empty, lower case
	fNSAP     // the rest as 0xHEX (RFC 1706 section 5)
	fBase64   // the rest, one octet at least
	fKey      // the rest, but an empty DNSKEY has an anomaly of its own
	fBase640  // the rest, which may be empty
	fDOAData  // the rest, "-" for none
	fSalt     // an octet of length, HEX or "-" (RFC 5155 section 3.3)
	fHash     // an octet of length, base32hex (RFC 5155 section 3.3)
	fSizedHex // 16 bits of length, which are printed, then hex (TSIG, TKEY)
	fSizedHEX
	fLOC   // RFC 1876
	fAPL   // RFC 3123
	fHIP   // RFC 8005
	fIPSEC // gateway type, algorithm, gateway (RFC 4025)
	fRelay // discovery bit and type, relay (RFC 8777)
	fA6    // RFC 2874
	fOPT   // RFC 6891
	fRaw   // RFC 3597

	// Lists that write a space before each element.
	fBitmap // types (RFC 4034 section 4.1.2)
	fNXT    // types (RFC 2535 section 5.2)
	fParams // SvcParams (RFC 9460 section 2.2)
	fWKS    // ports (RFC 1035 section 3.4.2)

	numFields
)

var fieldSize = [numFields]uint8{
	fU8: 1, fU16: 2, fU32: 4, fU64: 8, fIPv4: 4, fIPv6: 16, fTime: 4, fTime48: 6, fType: 2,
	fCertType: 2, fAlg: 1, fNodeID: 8, fLocator: 8, fEUI48: 6, fEUI64: 8, fScheme: 1,
}

// layout says what stands in the RDATA of a type, in order, up to fEnd.
type layout struct {
	name   string
	fields [10]field
}

type fields = [10]field

// layouts is indexed by type. A new type is a line here. Types with a name but
// without a format of their own (meta types, withdrawn ones) are raw.
var layouts = [lastInTable + 1]layout{
	1:   {"A", fields{fIPv4}},
	2:   {"NS", fields{fName}},
	3:   {"MD", fields{fName}},
	4:   {"MF", fields{fName}},
	5:   {"CNAME", fields{fName}},
	6:   {"SOA", fields{fName, fName, fU32, fU32, fU32, fU32, fU32}},
	7:   {"MB", fields{fName}},
	8:   {"MG", fields{fName}},
	9:   {"MR", fields{fName}},
	10:  {"NULL", fields{fRaw}},
	11:  {"WKS", fields{fIPv4, fU8, fWKS}},
	12:  {"PTR", fields{fName}},
	13:  {"HINFO", fields{fString, fString}},
	14:  {"MINFO", fields{fName, fName}},
	15:  {"MX", fields{fU16, fName}},
	16:  {"TXT", fields{fStrings}},
	17:  {"RP", fields{fName, fName}},
	18:  {"AFSDB", fields{fU16, fName}},
	19:  {"X25", fields{fString}},
	20:  {"ISDN", fields{fString, fStringOr}},
	21:  {"RT", fields{fU16, fName}},
	22:  {"NSAP", fields{fNSAP}},
	23:  {"NSAP-PTR", fields{fName}},
	24:  {"SIG", fields{fType, fU8, fU8, fU32, fTime, fTime, fU16, fName, fBase64}},
	25:  {"KEY", fields{fU16, fU8, fU8, fBase640}},
	26:  {"PX", fields{fU16, fName, fName}},
	27:  {"GPOS", fields{fString, fString, fString}},
	28:  {"AAAA", fields{fIPv6}},
	29:  {"LOC", fields{fLOC}},
	30:  {"NXT", fields{fName, fNXT}},
	31:  {"EID", fields{fHEX}},
	32:  {"NIMLOC", fields{fHEX}},
	33:  {"SRV", fields{fU16, fU16, fU16, fName}},
	34:  {"ATMA", fields{fRaw}},
	35:  {"NAPTR", fields{fU16, fU16, fString, fString, fString, fName}},
	36:  {"KX", fields{fU16, fName}},
	37:  {"CERT", fields{fCertType, fU16, fAlg, fBase64}},
	38:  {"A6", fields{fA6}},
	39:  {"DNAME", fields{fName}},
	40:  {"SINK", fields{fRaw}},
	41:  {"OPT", fields{fOPT}},
	42:  {"APL", fields{fAPL}},
	43:  {"DS", fields{fU16, fU8, fU8, fHEX}},
	44:  {"SSHFP", fields{fU8, fU8, fHEX}},
	45:  {"IPSECKEY", fields{fU8, fIPSEC, fBase640}},
	46:  {"RRSIG", fields{fType, fU8, fU8, fU32, fTime, fTime, fU16, fName, fBase64}},
	47:  {"NSEC", fields{fName, fBitmap}},
	48:  {"DNSKEY", fields{fU16, fU8, fU8, fKey}},
	49:  {"DHCID", fields{fBase64}},
	50:  {"NSEC3", fields{fU8, fU8, fU16, fSalt, fHash, fBitmap}},
	51:  {"NSEC3PARAM", fields{fU8, fU8, fU16, fSalt}},
	52:  {"TLSA", fields{fU8, fU8, fU8, fHex}},
	53:  {"SMIMEA", fields{fU8, fU8, fU8, fHex}},
	55:  {"HIP", fields{fHIP}},
	56:  {"NINFO", fields{fStrings}},
	57:  {"RKEY", fields{fU16, fU8, fU8, fBase64}},
	58:  {"TALINK", fields{fName, fName}},
	59:  {"CDS", fields{fU16, fU8, fU8, fHEX}},
	60:  {"CDNSKEY", fields{fU16, fU8, fU8, fKey}},
	61:  {"OPENPGPKEY", fields{fBase64}},
	62:  {"CSYNC", fields{fU32, fU16, fBitmap}},
	63:  {"ZONEMD", fields{fU32, fU8, fU8, fHex}},
	64:  {"SVCB", fields{fU16, fName, fParams}},
	65:  {"HTTPS", fields{fU16, fName, fParams}},
	66:  {"DSYNC", fields{fType, fScheme, fU16, fName}},
	67:  {"HHIT", fields{fBase64}},
	68:  {"BRID", fields{fBase64}},
	99:  {"SPF", fields{fStrings}},
	100: {"UINFO", fields{fString}},
	101: {"UID", fields{fU32}},
	102: {"GID", fields{fU32}},
	103: {"UNSPEC", fields{fRaw}},
	104: {"NID", fields{fU16, fNodeID}},
	105: {"L32", fields{fU16, fIPv4}},
	106: {"L64", fields{fU16, fLocator}},
	107: {"LP", fields{fU16, fName}},
	108: {"EUI48", fields{fEUI48}},
	109: {"EUI64", fields{fEUI64}},
	128: {"NXNAME", fields{fRaw}},
	249: {"TKEY", fields{fName, fTime, fTime, fU16, fU16, fSizedHex, fSizedHex}},
	250: {"TSIG", fields{fName, fTime48, fU16, fSizedHEX, fU16, fU16, fSizedHex}},
	251: {"IXFR", fields{fRaw}},
	252: {"AXFR", fields{fRaw}},
	253: {"MAILB", fields{fRaw}},
	254: {"MAILA", fields{fRaw}},
	255: {"ANY", fields{fRaw}},
	256: {"URI", fields{fU16, fU16, fQuoted}},
	257: {"CAA", fields{fU8, fTag, fQuoted}},
	258: {"AVC", fields{fStrings}},
	259: {"DOA", fields{fU32, fU32, fU8, fString, fDOAData}},
	260: {"AMTRELAY", fields{fU8, fRelay}},
	261: {"RESINFO", fields{fStrings}},
	262: {"WALLET", fields{fStrings}},
	263: {"CLA", fields{fStrings}},
	264: {"IPN", fields{fU64}},
}

var (
	layoutTA      = layout{"TA", fields{fU16, fU8, fU8, fHEX}}
	layoutDLV     = layout{"DLV", fields{fU16, fU8, fU8, fHEX}}
	layoutUnknown = layout{"", fields{fRaw}}
)

func (t Type) layout() *layout {
	if int(t) < len(layouts) && layouts[t].fields[0] != fEnd {
		return &layouts[t]
	}
	switch t {
	case TypeTA:
		return &layoutTA
	case TypeDLV:
		return &layoutDLV
	}
	return &layoutUnknown
}
