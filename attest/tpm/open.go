package tpm

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// Open connects to the TPM that spec names: an absolute path of a character
// device, of which /dev/tpmrm0 is the one to prefer because the kernel then
// keeps the handles of different programs apart, or "unix:" and the path of a
// software TPM's command socket. No resource manager stands behind such a
// socket, so only one program at a time should use it. A device that another
// program holds is ErrBusy.
func Open(spec string) (transport.TPMCloser, error) {
	var (
		t   transport.TPMCloser
		err error
	)
	if path, ok := strings.CutPrefix(spec, "unix:"); ok {
		t, err = linuxudstpm.Open(path)
	} else if strings.HasPrefix(spec, "/") {
		t, err = linuxtpm.Open(spec)
	} else {
		err = fmt.Errorf("neither an absolute path nor unix:/path")
	}
	if errors.Is(err, syscall.EBUSY) {
		err = unreachable(err)
	}
	if err != nil {
		return nil, fmt.Errorf("open TPM %q: %w", spec, err)
	}
	return t, nil
}
