package conf

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// EnsureAdminKey gives every admin key that is empty in the file the generated
// one, which lies in the data folder with mode 0600 and is made on first use.
// It returns the key when it was made just now, for the operator to see once,
// and "" otherwise. The user's configuration file is never written.
func (c *Config) EnsureAdminKey() (made string, err error) {
	key := ""
	for i := range c.Deployment.Admin.Keys {
		k := &c.Deployment.Admin.Keys[i]
		if k.Key != "" || !c.ServesAdmin() {
			continue
		}
		if key == "" {
			if key, made, err = storedKey(c.AdminKeyFile()); err != nil {
				return "", err
			}
		}
		k.Key = key
	}
	return made, nil
}

// AdminKeyFile is where the generated admin key lies.
func (c *Config) AdminKeyFile() string { return filepath.Join(c.Sluice.DataDir, "admin.key") }

func storedKey(path string) (key, made string, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		key = strings.TrimSpace(string(b))
		if len(key) < 16 {
			return "", "", fmt.Errorf("admin key file %s: at least 16 characters are wanted, found %d", path, len(key))
		}
		return key, "", nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("admin key: %w", err)
	}
	if key, err = randomLetters(32); err != nil {
		return "", "", err
	}
	if err := writeOnce(path, key+"\n"); err != nil {
		return "", "", fmt.Errorf("admin key: %w", err)
	}
	return key, key, nil
}

// randomLetters draws n letters, each as likely as the others.
func randomLetters(n int) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	out := make([]byte, 0, n)
	buf := make([]byte, 2*n)
	for len(out) < n {
		if _, err := rand.Read(buf); err != nil {
			return "", err
		}
		for _, b := range buf {
			// 208 is the largest multiple of 52 in a byte: no letter is favoured
			if b < 208 && len(out) < n {
				out = append(out, letters[int(b)%len(letters)])
			}
		}
	}
	return string(out), nil
}

// writeOnce makes the file with mode 0600, whole or not at all.
func writeOnce(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".new-*") // CreateTemp makes it 0600
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Link(tmp.Name(), path) // fails when somebody else was first
	}
	return errors.Join(err, os.Remove(tmp.Name()))
}

// InstanceID is the name of this gateway: that of an apisix.uid beside the
// configuration file, or apisix.id, or one that is made at first start and kept
// in the data folder.
func (c *Config) InstanceID() (string, error) {
	if id := firstLine(filepath.Join(c.dir(), "apisix.uid")); id != "" {
		return id, nil
	}
	if c.Apisix.ID != "" {
		return c.Apisix.ID, nil
	}
	path := filepath.Join(c.Sluice.DataDir, "apisix.uid")
	if id := firstLine(path); id != "" {
		return id, nil
	}
	id := uuid4()
	if err := writeOnce(path, id+"\n"); err != nil {
		return "", fmt.Errorf("instance id: %w", err)
	}
	return id, nil
}

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

func uuid4() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
