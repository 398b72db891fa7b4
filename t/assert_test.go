package t

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

var errNoAnswer = errors.New("there is no answer to look at")

// status N of the last answer.
func status(s *scenario, not bool, args []string) error {
	if s.answer == nil {
		return errNoAnswer
	}
	if len(args) != 1 {
		return errors.New("usage: status N")
	}
	if (strconv.Itoa(s.answer.status) == args[0]) == not {
		return fmt.Errorf("status is %d", s.answer.status)
	}
	return nil
}

// header NAME says the field is there, header NAME VALUE that a field of that
// name has the value, header NAME ~ RE that one matches. A trailer is called
// "Trailer:Name".
func header(s *scenario, not bool, args []string) error {
	if s.answer == nil {
		return errNoAnswer
	}
	var values []string
	for name, v := range s.answer.header {
		if len(args) > 0 && strings.EqualFold(name, args[0]) {
			values = append(values, v...)
		}
	}
	ok := false
	switch {
	case len(args) == 1:
		ok = len(values) > 0
	case len(args) == 2:
		for _, v := range values {
			ok = ok || v == args[1]
		}
	case len(args) == 3 && args[1] == "~":
		re, err := regexp.Compile(args[2])
		if err != nil {
			return err
		}
		for _, v := range values {
			ok = ok || re.MatchString(v)
		}
	default:
		return errors.New("usage: header NAME [VALUE | ~ RE]")
	}
	if ok == not {
		return fmt.Errorf("header %s is %q", args[0], values)
	}
	return nil
}

// body TEXT says the body contains TEXT, body = TEXT that it is TEXT but for
// white space at its ends, body ~ RE that it matches.
func body(s *scenario, not bool, args []string) error {
	if s.answer == nil {
		return errNoAnswer
	}
	ok := false
	switch {
	case len(args) == 1:
		text, err := s.text(args[0])
		if err != nil {
			return err
		}
		ok = strings.Contains(s.answer.body, text)
	case len(args) == 2 && args[0] == "=":
		text, err := s.text(args[1])
		if err != nil {
			return err
		}
		ok = strings.TrimSpace(s.answer.body) == strings.TrimSpace(text)
	case len(args) == 2 && args[0] == "~":
		re, err := regexp.Compile(args[1])
		if err != nil {
			return err
		}
		ok = re.MatchString(s.answer.body)
	default:
		return errors.New("usage: body TEXT | = TEXT | ~ RE")
	}
	if ok == not {
		return fmt.Errorf("body is %.1000q", s.answer.body)
	}
	return nil
}

// json PATH says the value is there, json PATH VALUE that it is VALUE. A path
// has dots; a number is a place in a list, "len()" the length of one. Names that
// contain dots are written with "\.".
func jsonPath(s *scenario, not bool, args []string) error {
	if s.answer == nil {
		return errNoAnswer
	}
	if len(args) == 0 || len(args) > 2 {
		return errors.New("usage: json PATH [VALUE]")
	}
	var v any
	if err := json.Unmarshal([]byte(s.answer.body), &v); err != nil {
		return fmt.Errorf("body is not JSON: %w", err)
	}
	got, ok := walk(v, args[0])
	if len(args) == 2 {
		ok = ok && same(got, s.expand(args[1]))
	}
	if ok == not {
		text, _ := json.Marshal(got)
		return fmt.Errorf("%s is %s", args[0], text)
	}
	return nil
}

func walk(v any, path string) (any, bool) {
	const dot = "\x00"
	for _, step := range strings.Split(strings.ReplaceAll(path, `\.`, dot), ".") {
		step = strings.ReplaceAll(step, dot, ".")
		switch x := v.(type) {
		case map[string]any:
			m, ok := x[step]
			if !ok {
				return nil, false
			}
			v = m
		case []any:
			if step == "len()" {
				v = float64(len(x))
				continue
			}
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// same compares a value with the text of a script: as JSON when it is that.
func same(got any, want string) bool {
	if str, ok := got.(string); ok && str == want {
		return true
	}
	var w any
	return json.Unmarshal([]byte(want), &w) == nil && reflect.DeepEqual(got, w)
}

// peer NAME says that the certificate of the last TLS answer is good for NAME.
func peer(s *scenario, not bool, args []string) error {
	if s.answer == nil || s.answer.tls == nil || len(args) != 1 {
		return errors.New("usage: peer NAME, after an answer over TLS")
	}
	err := s.answer.tls.PeerCertificates[0].VerifyHostname(args[0])
	if (err == nil) == not {
		return fmt.Errorf("certificate for %q: %v", s.answer.tls.PeerCertificates[0].DNSNames, err)
	}
	return nil
}
