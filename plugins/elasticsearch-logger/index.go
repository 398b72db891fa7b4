package elasticsearchlogger

import (
	"strconv"
	"strings"
	"time"

	"sluice/plugins"
)

// index is the name of an index: texts with variables, and times.
type index []indexPart

type indexPart struct {
	text   *plugins.Template
	layout string // of strftime, when text is nil
	utc    bool
}

// parseIndex reads name: {…} without "$" before it is a layout of strftime, in
// UTC behind a "!".
func parseIndex(name string) (index, error) {
	var ix index
	text := func(s string) error {
		if s == "" {
			return nil
		}
		t, err := plugins.ParseTemplate(s)
		ix = append(ix, indexPart{text: t})
		return err
	}
	from := 0
	for at := 0; at < len(name); at++ {
		if name[at] != '{' || at > 0 && name[at-1] == '$' {
			continue
		}
		end := strings.IndexByte(name[at:], '}')
		if end < 0 {
			break
		}
		if err := text(name[from:at]); err != nil {
			return nil, err
		}
		layout, utc := strings.CutPrefix(name[at+1:at+end], "!")
		if strings.HasPrefix(layout, "*t") {
			layout = "" // a table in Lua, and no text
		}
		ix = append(ix, indexPart{layout: layout, utc: utc})
		at += end
		from = at + 1
	}
	return ix, text(name[from:])
}

func (ix index) render(c *plugins.Ctx, now time.Time) string {
	var b strings.Builder
	for _, p := range ix {
		switch {
		case p.text != nil:
			b.WriteString(p.text.Render(c))
		case p.utc:
			b.WriteString(strftime(p.layout, now.UTC()))
		default:
			b.WriteString(strftime(p.layout, now.Local()))
		}
	}
	return b.String()
}

// layouts are the conversions of strftime as Go writes them.
var layouts = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM",
	'j': "002", 'B': "January", 'b': "Jan", 'h': "Jan", 'A': "Monday", 'a': "Mon", 'Z': "MST", 'z': "-0700",
	'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04", 'D': "01/02/06", 'x': "01/02/06", 'X': "15:04:05",
	'c': "Mon Jan _2 15:04:05 2006", 'r': "03:04:05 PM", 'n': "\n", 't': "\t",
}

// numbers are the conversions that Go's layouts do not have.
var numbers = map[byte]func(time.Time) string{
	'C': func(t time.Time) string { return twoDigits(t.Year() / 100) },
	'G': func(t time.Time) string { year, _ := t.ISOWeek(); return strconv.Itoa(year) },
	'g': func(t time.Time) string { year, _ := t.ISOWeek(); return twoDigits(year % 100) },
	'V': func(t time.Time) string { _, week := t.ISOWeek(); return twoDigits(week) },
	'U': func(t time.Time) string { return twoDigits((t.YearDay() + 6 - int(t.Weekday())) / 7) },
	'W': func(t time.Time) string { return twoDigits((t.YearDay() + 6 - sinceMonday(t)) / 7) },
	'u': func(t time.Time) string { return strconv.Itoa(sinceMonday(t) + 1) },
	'w': func(t time.Time) string { return strconv.Itoa(int(t.Weekday())) },
	's': func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) },
}

func twoDigits(n int) string { return string([]byte{byte('0' + n/10%10), byte('0' + n%10)}) }

func sinceMonday(t time.Time) int { return (int(t.Weekday()) + 6) % 7 }

func strftime(layout string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(layout); i++ {
		if layout[i] != '%' || i+1 == len(layout) {
			b.WriteByte(layout[i])
			continue
		}
		i++
		as, ok := layouts[layout[i]]
		number := numbers[layout[i]]
		switch {
		case ok:
			b.WriteString(t.Format(as))
		case number != nil:
			b.WriteString(number(t))
		case layout[i] == '%':
			b.WriteByte('%')
		default:
			b.WriteString(layout[i-1 : i+1])
		}
	}
	return b.String()
}
