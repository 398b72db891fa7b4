package schema

import (
	"net/netip"
	"regexp"
)

// formats are the values of "format" that are judged; others say nothing.
var formats = map[string]matcher{
	"ipv4": isIPv4,
	"ipv6": isIPv6,
	"email": regexp.MustCompile(
		`^([A-Za-z0-9_\-\.])+\@([A-Za-z0-9_\-\.])+\.([A-Za-z]{2,4})$`).MatchString,
	"hostname": regexp.MustCompile(`^[a-zA-Z0-9\-\.]+$`).MatchString,
	"uuid": regexp.MustCompile(
		`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`).MatchString,
	"date": regexp.MustCompile(`^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$`).MatchString,
	"date-time": regexp.MustCompile(
		`^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d` +
			`(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$`).MatchString,
	"uri": regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+\-.]*:[^\s]*$`).MatchString,
}

func isIPv4(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && a.Zone() == ""
}
