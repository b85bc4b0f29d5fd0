package output

import "os"

// File is an output file. What it held before stays until there is something to
// write: a capture that cannot be read must not cost the last one's events.
type File struct {
	*os.File
	old bool // what it held is still there
}

// OpenFile opens a file for writing and makes it where there is none.
func OpenFile(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	return &File{f, err == nil && info.Mode().IsRegular()}, nil
}

// Write writes p, the first time in place of what was there.
func (f *File) Write(p []byte) (int, error) {
	if err := f.Empty(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

// Empty drops what was there before, unless something was written already.
func (f *File) Empty() error {
	if !f.old {
		return nil
	}
	f.old = false
	return f.Truncate(0)
}
