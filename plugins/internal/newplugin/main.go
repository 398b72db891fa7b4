// Command newplugin writes the folder of a new plugin, in the form that all
// plugins have: go run ./plugins/internal/newplugin NAME PRIORITY. What the
// plugin does is left to be written; go generate ./plugins/all lists it.
//
// It knows the form, and no plugin.
package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"
)

//go:embed form
var form embed.FS

func main() {
	if err := run(".", os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "newplugin:", err)
		os.Exit(1)
	}
}

// values are what the templates of the form fill in.
type values struct {
	Name, Package string
	Priority      int
}

func run(root string, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: newplugin NAME PRIORITY")
	}
	v := values{Name: args[0], Package: strings.ReplaceAll(args[0], "-", "")}
	if !regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`).MatchString(v.Name) {
		return fmt.Errorf("name %q: want lower-case words joined by hyphens", v.Name)
	}
	var err error
	if v.Priority, err = strconv.Atoi(args[1]); err != nil {
		return fmt.Errorf("priority %q: want an integer", args[1])
	}
	folder := filepath.Join(root, "plugins", v.Name)
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	templates, err := fs.Sub(form, "form")
	if err != nil {
		return err
	}
	return fs.WalkDir(templates, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimSuffix(path, ".tmpl")
		to := filepath.Join(folder, name)
		if name == "scenario.txtar" {
			to = filepath.Join(root, "t", "plugin", v.Name+".txtar")
		}
		return write(templates, path, to, v)
	})
}

func write(from fs.FS, path, to string, v values) error {
	t, err := template.New(filepath.Base(path)).Delims("[[", "]]").ParseFS(from, path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := t.Execute(f, v); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
