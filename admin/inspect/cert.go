package inspect

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
)

var (
	errCert = errors.New("failed to parse cert: PEM_read_bio_X509_AUX() failed")
	errKey  = errors.New("failed to parse key: PEM_read_bio_PrivateKey() failed")
)

// CheckCert checks a chain of certificates in PEM form.
func CheckCert(text string) error {
	n := 0
	for rest := []byte(text); ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if !strings.HasSuffix(block.Type, "CERTIFICATE") {
			return errCert
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return errCert
		}
	}
	if n == 0 {
		return errCert
	}
	return nil
}

// CheckKey accepts the first private key in the text; an EC key may have its
// parameters in front.
func CheckKey(text string) error {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return errKey
		}
		switch block.Type {
		case "PRIVATE KEY":
			_, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			return keyFault(err)
		case "RSA PRIVATE KEY":
			_, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			return keyFault(err)
		case "EC PRIVATE KEY":
			_, err := x509.ParseECPrivateKey(block.Bytes)
			return keyFault(err)
		}
	}
}

func keyFault(err error) error {
	if err != nil {
		return errKey
	}
	return nil
}
