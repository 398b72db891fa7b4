package admin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// testCert is a self-signed certificate and testKey its key, in PEM form.
var testCert, testKey = selfSigned()

func selfSigned() (cert, key string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test.com"},
		DNSNames: []string{"test.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, k.Public(), k)
	if err != nil {
		panic(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder}))
}

// sslBody is a complete ssl object of a type.
func sslBody(typ string) string {
	b, _ := encode(object{"cert": testCert, "key": testKey, "sni": "test.com", "type": typ})
	return string(b)
}

// descriptorSet is base64 of a FileDescriptorSet with one empty file.
const descriptorSet = "CgkKB2EucHJvdG8="
