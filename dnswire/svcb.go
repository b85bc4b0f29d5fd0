package dnswire

import (
	"encoding/binary"
	"strconv"
)

// The SvcParamKeys (IANA "Service Parameter Keys", RFC 9460 section 14.3.2).
const (
	svcbMandatory = iota
	svcbALPN
	svcbNoDefaultALPN
	svcbPort
	svcbIPv4Hint
	svcbECH
	svcbIPv6Hint
	svcbDoHPath
	svcbOHTTP
	svcbTLSGroups
)

var svcbKeys = [...]string{
	svcbMandatory:     "mandatory",
	svcbALPN:          "alpn",
	svcbNoDefaultALPN: "no-default-alpn",
	svcbPort:          "port",
	svcbIPv4Hint:      "ipv4hint",
	svcbECH:           "ech",
	svcbIPv6Hint:      "ipv6hint",
	svcbDoHPath:       "dohpath",
	svcbOHTTP:         "ohttp",
	svcbTLSGroups:     "tls-supported-groups",
}

func appendSVCBKey(dst []byte, key int) []byte {
	if key < len(svcbKeys) {
		return append(dst, svcbKeys[key]...)
	}
	return strconv.AppendUint(append(dst, "key"...), uint64(key), 10)
}

// checkParams judges SvcParams: keys in strictly ascending order, each value in
// the form of its key (RFC 9460 sections 2.2, 7 and 8).
func (m *Message) checkParams(r *Record, off, end int) Anomaly {
	raw, last := m.Raw, -1
	if end-off > m.Limits.data() {
		m.Anomalies.Add(TextCapped)
	}
	if off < end && binary.BigEndian.Uint16(raw[r.Off:]) == 0 {
		m.Anomalies.Add(SVCBAlias)
	}
	var mandatory []byte
	for off < end {
		if end-off < 4 {
			return SVCBRange
		}
		key := int(binary.BigEndian.Uint16(raw[off:]))
		n := int(binary.BigEndian.Uint16(raw[off+2:]))
		switch off += 4; {
		case n > end-off:
			return SVCBRange
		case key == last:
			return SVCBDup
		case key < last:
			return SVCBOrder
		}
		value := raw[off : off+n]
		if key == svcbMandatory {
			if mandatory = value; !mandatoryInOrder(value) {
				return SVCBMandatory
			}
		} else if !svcbValueValid(key, value) {
			return SVCBValue
		}
		// Both lists ascend, so one pass finds every mandatory key, or misses it.
		if len(mandatory) > 0 && key != svcbMandatory {
			switch want := int(binary.BigEndian.Uint16(mandatory)); {
			case want == key:
				mandatory = mandatory[2:]
			case want < key:
				return SVCBMandatory
			}
		}
		last = key
		off += n
	}
	if len(mandatory) > 0 {
		return SVCBMandatory
	}
	return None
}

// mandatoryInOrder: a list of ascending keys without "mandatory" itself (RFC
// 9460 section 8).
func mandatoryInOrder(b []byte) bool {
	if len(b) == 0 || len(b)%2 != 0 {
		return false
	}
	last := svcbMandatory
	for ; len(b) > 0; b = b[2:] {
		key := int(binary.BigEndian.Uint16(b))
		if key <= last {
			return false
		}
		last = key
	}
	return true
}

func svcbValueValid(key int, b []byte) bool {
	switch key {
	case svcbALPN:
		if len(b) == 0 {
			return false
		}
		for len(b) > 0 {
			n := int(b[0])
			if n == 0 || n >= len(b) {
				return false
			}
			b = b[1+n:]
		}
		return true
	case svcbNoDefaultALPN, svcbOHTTP:
		return len(b) == 0
	case svcbPort:
		return len(b) == 2
	case svcbIPv4Hint:
		return len(b) > 0 && len(b)%4 == 0
	case svcbIPv6Hint:
		return len(b) > 0 && len(b)%16 == 0
	case svcbTLSGroups:
		return len(b) > 0 && len(b)%2 == 0
	}
	return true
}

// appendParams appends SvcParams, each behind a space and with its value in
// quotes, as far as Limits.Data octets go.
func (m *Message) appendParams(dst, b []byte) []byte {
	limit := m.Limits.data()
	for i := 0; i < len(b); {
		key := int(binary.BigEndian.Uint16(b[i:]))
		n := int(binary.BigEndian.Uint16(b[i+2:]))
		if i+4+n > limit {
			return appendCut(dst, len(b)-i, "octets")
		}
		dst = append(appendSVCBKey(append(dst, ' '), key), `="`...)
		dst = append(appendSVCBValue(dst, key, b[i+4:i+4+n]), '"')
		i += 4 + n
	}
	return dst
}

func appendSVCBValue(dst []byte, key int, b []byte) []byte {
	switch key {
	case svcbMandatory:
		for ; len(b) > 0; b = b[2:] {
			dst = append(appendSVCBKey(dst, int(binary.BigEndian.Uint16(b))), ',')
		}
	case svcbALPN:
		for len(b) > 0 {
			n := 1 + int(b[0])
			dst = append(appendEscaped(dst, b[1:n], &escapeALPN), ',')
			b = b[n:]
		}
	case svcbPort:
		return strconv.AppendUint(dst, uint64(binary.BigEndian.Uint16(b)), 10)
	case svcbIPv4Hint:
		for ; len(b) > 0; b = b[4:] {
			dst = append(appendIPv4(dst, b), ',')
		}
	case svcbIPv6Hint:
		for ; len(b) > 0; b = b[16:] {
			dst = append(appendIPv6(dst, b[:16]), ',')
		}
	case svcbTLSGroups:
		for ; len(b) > 0; b = b[2:] {
			dst = append(strconv.AppendUint(dst, uint64(binary.BigEndian.Uint16(b)), 10), ',')
		}
	case svcbECH:
		return appendBase64(dst, b)
	default:
		return appendEscaped(dst, b, &escapeQuoted)
	}
	return trimComma(dst)
}

func trimComma(dst []byte) []byte {
	if n := len(dst); dst[n-1] == ',' {
		return dst[:n-1]
	}
	return dst
}
