package plugins

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
	"time"
)

func tlsProtocol(c *Ctx) (string, bool) {
	if c.Req.TLS == nil {
		return "", false
	}
	switch c.Req.TLS.Version {
	case tls.VersionTLS10:
		return "TLSv1", true
	case tls.VersionTLS11:
		return "TLSv1.1", true
	case tls.VersionTLS12:
		return "TLSv1.2", true
	case tls.VersionTLS13:
		return "TLSv1.3", true
	}
	return "", false
}

// opensslNames are the names that nginx's users know of the suites of TLS 1.2.
var opensslNames = map[uint16]string{
	tls.TLS_RSA_WITH_AES_128_CBC_SHA:                  "AES128-SHA",
	tls.TLS_RSA_WITH_AES_256_CBC_SHA:                  "AES256-SHA",
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256:               "AES128-GCM-SHA256",
	tls.TLS_RSA_WITH_AES_256_GCM_SHA384:               "AES256-GCM-SHA384",
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA:            "ECDHE-RSA-AES128-SHA",
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA:            "ECDHE-RSA-AES256-SHA",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:          "ECDHE-ECDSA-AES128-SHA",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:          "ECDHE-ECDSA-AES256-SHA",
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         "ECDHE-RSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:         "ECDHE-RSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       "ECDHE-ECDSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:       "ECDHE-ECDSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:   "ECDHE-RSA-CHACHA20-POLY1305",
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
}

func tlsCipher(c *Ctx) (string, bool) {
	if c.Req.TLS == nil {
		return "", false
	}
	if name, ok := opensslNames[c.Req.TLS.CipherSuite]; ok {
		return name, true
	}
	return tls.CipherSuiteName(c.Req.TLS.CipherSuite), true
}

func tlsCurve(c *Ctx) (string, bool) {
	if c.Req.TLS == nil || c.Req.TLS.CurveID == 0 {
		return "", false
	}
	return c.Req.TLS.CurveID.String(), true
}

func tlsServerName(c *Ctx) (string, bool) {
	if c.Req.TLS == nil {
		return "", false
	}
	return c.Req.TLS.ServerName, c.Req.TLS.ServerName != ""
}

func tlsALPN(c *Ctx) (string, bool) {
	if c.Req.TLS == nil {
		return "", false
	}
	return c.Req.TLS.NegotiatedProtocol, c.Req.TLS.NegotiatedProtocol != ""
}

func tlsReused(c *Ctx) (string, bool) {
	switch {
	case c.Req.TLS == nil:
		return "", false
	case c.Req.TLS.DidResume:
		return "r", true
	}
	return ".", true
}

func tlsClientVerify(c *Ctx) (string, bool) {
	switch {
	case c.Req.TLS == nil:
		return "", false
	case len(c.Req.TLS.PeerCertificates) == 0:
		return "NONE", true
	case len(c.Req.TLS.VerifiedChains) == 0:
		return "FAILED:unable to verify the first certificate", true
	}
	return "SUCCESS", true
}

// clientCert is the certificate that the client showed, or nil.
func clientCert(c *Ctx) *x509.Certificate {
	if c.Req.TLS == nil || len(c.Req.TLS.PeerCertificates) == 0 {
		return nil
	}
	return c.Req.TLS.PeerCertificates[0]
}

func ofClientCert(c *Ctx, text func(*x509.Certificate) string) (string, bool) {
	cert := clientCert(c)
	if cert == nil {
		return "", false
	}
	return text(cert), true
}

func tlsClientSubject(c *Ctx) (string, bool) {
	return ofClientCert(c, func(x *x509.Certificate) string { return x.Subject.String() })
}

func tlsClientIssuer(c *Ctx) (string, bool) {
	return ofClientCert(c, func(x *x509.Certificate) string { return x.Issuer.String() })
}

func tlsClientSerial(c *Ctx) (string, bool) {
	return ofClientCert(c, func(x *x509.Certificate) string {
		return strings.ToUpper(fmt.Sprintf("%x", x.SerialNumber.Bytes()))
	})
}

func tlsClientPEM(c *Ctx) (string, bool) {
	return ofClientCert(c, func(x *x509.Certificate) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw}))
	})
}

// opensslTime is how OpenSSL prints the time of a certificate.
const opensslTime = "Jan _2 15:04:05 2006 GMT"

func tlsClientStart(c *Ctx) (string, bool) {
	return ofClientCert(c, func(x *x509.Certificate) string { return x.NotBefore.UTC().Format(opensslTime) })
}

func tlsClientEnd(c *Ctx) (string, bool) {
	return ofClientCert(c, func(x *x509.Certificate) string { return x.NotAfter.UTC().Format(opensslTime) })
}

// tlsClientDays is the number of whole days until the certificate ends.
func tlsClientDays(c *Ctx) (string, bool) {
	return ofClientCert(c, func(x *x509.Certificate) string {
		return strconv.FormatInt(int64(max(time.Until(x.NotAfter), 0)/(24*time.Hour)), 10)
	})
}
