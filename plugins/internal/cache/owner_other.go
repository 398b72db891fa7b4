//go:build !unix

package cache

import "os"

// openOwn opens a regular file.
func openOwn(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, 0, errForeign
	}
	return f, info.Size(), nil
}
