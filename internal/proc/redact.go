package proc

import "strings"

const redacted = "[redacted]"

// Redact takes the values out of a command line, arguments with a NUL each,
// whose names look like those of secrets: of flags, variables, headers, URL
// parameters and JSON keys, and the passwords of URLs. From such a name on, the
// rest of its argument goes. What has no name, such as the argument of mysql's
// -p, cannot be told.
func Redact(args string) string {
	var out strings.Builder
	out.Grow(len(args))
	next := keepAll
	for first := true; args != ""; first = false {
		arg, rest, terminated := strings.Cut(args, "\x00")
		args = rest
		switch {
		case next == dropAll:
			out.WriteString(redacted)
			next = keepAll
		case next == dropPassword && strings.IndexByte(arg, ':') >= 0:
			out.WriteString(arg[:strings.IndexByte(arg, ':')+1] + redacted)
			next = keepAll
		default:
			out.WriteString(redactArg(arg))
			if next = keepAll; !first {
				next = following(arg)
			}
		}
		if terminated {
			out.WriteByte(0)
		}
	}
	return out.String()
}

// What becomes of the argument behind a flag.
const (
	keepAll      = iota
	dropAll      // it is a secret
	dropPassword // it is user:password
)

func following(arg string) int {
	switch {
	case arg == "-u" || arg == "-U" || arg == "--user" || arg == "--proxy-user":
		return dropPassword
	case arg != "" && nameLen(arg) == len(arg) && isSecret(arg):
		return dropAll
	}
	return keepAll
}

func redactArg(arg string) string {
	arg = redactURL(arg)
	for i := 0; i < len(arg); {
		n := nameLen(arg[i:])
		if n == 0 {
			i++
			continue
		}
		name := arg[i : i+n]
		i += n
		end := i
		for end < len(arg) && strings.IndexByte(`"'] `, arg[end]) >= 0 {
			end++
		}
		assigned := end < len(arg) && (arg[end] == '=' || arg[end] == ':')
		// In a script that is one argument, spaces part flags from values.
		flag := end > i && (name[0] == '-' || strings.EqualFold(name, "bearer") || strings.EqualFold(name, "basic"))
		switch {
		case end == len(arg) || !assigned && !flag:
		case flag && (name == "-u" || name == "--user" || name == "-U" || name == "--proxy-user"):
			if colon := strings.IndexByte(arg[end:], ':'); colon >= 0 {
				return arg[:end+colon+1] + redacted
			}
		case strings.EqualFold(name, "basic") || isSecret(name):
			if assigned {
				end++
			}
			return arg[:end] + redacted
		}
	}
	return arg
}

// redactURL takes the password out of a URL, or what stands in its place alone.
// Up to the last @, because a password may hold what it should not.
func redactURL(arg string) string {
	begin := strings.Index(arg, "://")
	if begin < 0 {
		return arg
	}
	begin += len("://")
	at := strings.LastIndexByte(arg, '@')
	if at < begin {
		return arg
	}
	if colon := strings.IndexByte(arg[begin:at], ':'); colon >= 0 {
		begin += colon + 1
	} else if !strings.HasPrefix(arg[:begin], "http") {
		return arg // a user's name
	}
	return arg[:begin] + redacted + arg[at:]
}

// nameLen returns the length of the name that s begins with.
func nameLen(s string) int {
	for i := range len(s) {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' {
			continue
		}
		return i
	}
	return len(s)
}

var (
	// secretParts betray a name that holds them anywhere.
	secretParts = []string{"passw", "passphrase", "passcode", "secret", "token", "credential", "authoriz", "apikey", "cookie", "bearer"}
	// secretEnds betray a name that ends in them or holds them as a word.
	secretEnds = []string{"key", "pass", "pwd", "psk"}
	// secretWords betray a name that holds them as a word.
	secretWords = []string{"pw", "auth", "sig", "signature", "jwt", "pin", "otp"}
)

func isSecret(name string) bool {
	name = strings.ToLower(name)
	for _, part := range secretParts {
		if strings.Contains(name, part) {
			return true
		}
	}
	for word := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '-' || r == '_' || r == '.' }) {
		for _, end := range secretEnds {
			if strings.HasSuffix(word, end) {
				return true
			}
		}
		for _, w := range secretWords {
			if word == w {
				return true
			}
		}
	}
	return false
}
