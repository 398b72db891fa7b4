package redact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	r := New([]string{"s3cr3t-value", "abc", `quo"ted\secret`, "", "true", "s3cr3t-value-longer"})
	for text, want := range map[string]string{
		"password s3cr3t-value":       "password " + Mask,
		"s3cr3t-values":               Mask + "s",
		"s3cr3t-value-longer":         Mask,
		"abc, abcd, xabc, [abc], abc": Mask + ", abcd, xabc, [" + Mask + "], " + Mask,
		`"quo\"ted\\secret"`:          `"` + Mask + `"`,
		`quo"ted\secret`:              Mask,
		"true":                        "true",
		"":                            "",
	} {
		if got := r.Text(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	var none *Texts
	if none.Text("x") != "x" || none.Error(nil) != nil || New(nil) != nil {
		t.Error("no secrets changed something")
	}
}

type codeError struct{ code int }

func (e *codeError) Error() string { return "code with s3cr3t-value" }

func TestError(t *testing.T) {
	err := New([]string{"s3cr3t-value"}).Error(fmt.Errorf("outer: %w", &codeError{7}))
	var inner *codeError
	if err.Error() != "outer: code with "+Mask || !errors.As(err, &inner) || inner.code != 7 {
		t.Errorf("%v", err)
	}
	plain := errors.New("nothing in it")
	if New([]string{"s3cr3t-value"}).Error(plain) != plain {
		t.Error("an error without secrets was changed")
	}
}

func TestLogger(t *testing.T) {
	r := New([]string{"s3cr3t-value"})
	for name, mk := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		l := r.Logger(slog.New(mk(&b))).With("with", "s3cr3t-value").WithGroup("g")
		l.Info("at s3cr3t-value", "n", 1, "err", errors.New("s3cr3t-value"), "bytes", []byte("s3cr3t-value"),
			"raw", json.RawMessage(`{"a":"s3cr3t-value"}`), "struct", &struct{ P string }{"s3cr3t-value"},
			slog.Group("inner", "k", "s3cr3t-value"), "list", []int{1, 2})
		if strings.Contains(b.String(), "s3cr3t") || strings.Count(b.String(), Mask) != 7 {
			t.Errorf("%s: %s", name, &b)
		}
		if name == "json" && !strings.Contains(b.String(), `"list":[1,2]`) {
			t.Errorf("what is no secret was changed: %s", &b)
		}
	}
}
