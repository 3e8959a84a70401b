// Command pki writes what a kube-apiserver needs to be trusted: a CA, a serving certificate signed by it, and the
// key pair that signs service account tokens. It exists so that an embedded cluster needs neither an openssl on the
// machine nor a cryptography package in Python.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	hosts := flag.String("hosts", "localhost,127.0.0.1", "names and addresses of the serving certificate")
	days := flag.Int("days", 365, "validity")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: pki [-hosts a,b] [-days n] directory...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	for _, directory := range flag.Args() {
		if err := write(directory, strings.Split(*hosts, ","), time.Duration(*days)*24*time.Hour); err != nil {
			fmt.Fprintln(os.Stderr, "pki:", err)
			os.Exit(1)
		}
	}
}

// write fills one directory, one cluster: each cluster has a CA of its own, so no credential of one works on another.
func write(directory string, hosts []string, validity time.Duration) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	// An hour back, for clocks that differ a little.
	notBefore := time.Now().Add(-time.Hour)
	caKey, err := newKey()
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "embedded-cluster-ca"},
		NotBefore:             notBefore,
		NotAfter:              notBefore.Add(validity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caDER, err := sign(ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	// Read back for the key identifier, by which the serving certificate names its signer: strict clients ask for it.
	if ca, err = x509.ParseCertificate(caDER); err != nil {
		return err
	}
	servingKey, err := newKey()
	if err != nil {
		return err
	}
	serving := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:   notBefore,
		NotAfter:    notBefore.Add(validity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			serving.IPAddresses = append(serving.IPAddresses, ip)
		} else {
			serving.DNSNames = append(serving.DNSNames, host)
		}
	}
	servingDER, err := sign(serving, ca, servingKey.Public(), caKey)
	if err != nil {
		return err
	}
	accountKey, err := newKey()
	if err != nil {
		return err
	}
	accountPublic, err := x509.MarshalPKIXPublicKey(accountKey.Public())
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"ca.crt":      {Type: "CERTIFICATE", Bytes: caDER},
		"ca.key":      keyBlock(caKey),
		"serving.crt": {Type: "CERTIFICATE", Bytes: servingDER},
		"serving.key": keyBlock(servingKey),
		"sa.key":      keyBlock(accountKey),
		"sa.pub":      {Type: "PUBLIC KEY", Bytes: accountPublic},
	} {
		if block.Bytes == nil {
			return fmt.Errorf("%s: the key could not be encoded", name)
		}
		if err := os.WriteFile(filepath.Join(directory, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, template, parent, public, key)
}

// keyBlock uses the older form of an EC key, as every reader of service account keys knows it.
func keyBlock(key *ecdsa.PrivateKey) *pem.Block {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return &pem.Block{}
	}
	return &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
}
