package decode

type fragments struct{}

type fragmentInfo struct {
	id, offset, header uint32
	more, v6           bool
	proto              uint8
}

func (f *fragments) init(int)                                        {}
func (d *Decoder) fragment(info fragmentInfo, body []byte, rest int) {}
func (d *Decoder) expireFragments(now int64)                         {}
