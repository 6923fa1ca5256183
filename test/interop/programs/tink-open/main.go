// Opens a sealed stream with Google's Tink, and nothing of ours: streaming AEAD AES256_GCM_HKDF_1MB under a raw key of 32
// bytes, no associated data.
//
//	tink-open KEY_FILE SEALED OUT
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
	"github.com/tink-crypto/tink-go/v2/streamingaead"
	"github.com/tink-crypto/tink-go/v2/streamingaead/aesgcmhkdf"
)

func main() {
	if len(os.Args) != 4 {
		fail(fmt.Errorf("usage: tink-open KEY_FILE SEALED OUT"))
	}
	if err := open(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fail(err)
	}
}

func open(keyFile, sealed, out string) error {
	handle, err := keysetOf(keyFile)
	if err != nil {
		return err
	}
	aead, err := streamingaead.New(handle)
	if err != nil {
		return err
	}
	source, err := os.Open(sealed)
	if err != nil {
		return err
	}
	defer source.Close()
	plaintext, err := aead.NewDecryptingReader(source, nil)
	if err != nil {
		return err
	}
	target, err := os.Create(out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, plaintext); err != nil {
		return err
	}
	return target.Close()
}

func keysetOf(keyFile string) (*keyset.Handle, error) {
	bytes, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	parameters, err := aesgcmhkdf.NewParameters(aesgcmhkdf.ParametersOpts{
		KeySizeInBytes:        32,
		DerivedKeySizeInBytes: 32,
		HKDFHashType:          aesgcmhkdf.SHA256,
		SegmentSizeInBytes:    1 << 20,
	})
	if err != nil {
		return nil, err
	}
	key, err := aesgcmhkdf.NewKey(parameters, secretdata.NewBytesFromData(bytes, insecuresecretdataaccess.Token{}))
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManager()
	id, err := manager.AddKey(key)
	if err != nil {
		return nil, err
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, err
	}
	return manager.Handle()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "tink-open:", err)
	os.Exit(1)
}
