package eventlog_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/attest/eventlog"
)

// TestRealLogs replays logs of real machines to the values that their TPMs had.
func TestRealLogs(t *testing.T) {
	for _, tt := range []struct {
		file, bank string
		pcrs       map[int]string
		locality   int
		findings   []eventlog.Kind
		enabled    bool
		loaders    int
		cmdline    string
	}{
		{"arch-linux-workstation.bin", "sha256", map[int]string{
			0: "758b773d94feabf52ef5a4c00a7ad2c80d8d6e6d9d58756150be9bc973da9087",
			1: "bfda688a5d320123fddb3fc70b746bc17647e2e7f2f96e130d429542bf4622d5",
			2: "65dee4a48cde677aa89fa83c5c35e883fda658f743853e3ebad504ca6702f7c5",
			3: "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969",
			4: "925d453d3dfef4ac0c72c957402163d45fa95d05e6d53f047263a3a60b598325",
			5: "202522f005ef625588bb7c9e21335ba96a63c5086306138885b3bb2c381730ca",
			6: "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969",
			7: "3b4a4db44b7a872524055364e62e897ae678e0d47ab0809f65c3a4ed77f66ab9",
			8: "47591b43af431963eaeb5238a5c42eda1eb0014c27f7de7ae483066a2d2a2e61",
		}, 0, nil, false, 2, ""},
		{"debian-10.bin", "sha1", map[int]string{
			0: "0f2d3a2a1adaa479aeeca8f5df76aadc41b862ea",
			1: "b1676439cac1531683990fefe2218a43239d6fe8",
			2: "b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236",
			3: "b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236",
			4: "1eb30816474a3f144e99b24e4ad480b2e51fd9e1",
			5: "019079179dbc0eb5992c500dcf8a095910ac590d",
			6: "b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236",
			7: "9e6c57e850f371c2a7fe02bca552149363952318",
		}, 0, nil, true, 3, ""},
		{"gdc-host.bin", "sha256", map[int]string{
			0:  "dab77c454bd12c27ff6b6ce1f9adca90b7a330c1cef0b5cd01cb89fb3bd0dffa",
			1:  "e9c706539943b2d9770715914f9b3946fab0265327bace4c479913acb9014051",
			2:  "7fde57284c6a0eabdc9b829db4e2ab0bb565c4189410de2474dd116bc18bafcc",
			3:  "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969",
			4:  "ded8b5d91a09c328b9859d8c9db5a346f1065224616b0ba66d6c83dba2b465e8",
			5:  "163ee251955b844012f1493aa962b2a18acbec194ea4856cdc45cd54c8540058",
			6:  "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969",
			7:  "2c9252609eda09899d96abe16b947d0e736c43271997c1fa5189e9bcd37ba516",
			8:  "8edecd4daa5194ea70a2a9f2c71c7c816bd3b1e0a1ca6f4abea7306250191eba",
			9:  "731d336f9f3255e80b429de54fb77b2ad5e485829eb386d661c668245f30f44b",
			14: "306f9d8b94f17d93dc6e7cf8f5c79d652eb4c6c4d13de2dddc24af416e13ecaf",
		}, 3, []eventlog.Kind{eventlog.Unverified}, false, 3, "/vmlinuz"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("testdata", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			log, err := eventlog.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if log.StartupLocality != tt.locality {
				t.Errorf("startup locality %d", log.StartupLocality)
			}
			replay := log.Replay()[tt.bank]
			if len(replay) != len(tt.pcrs) {
				t.Errorf("%d PCRs, want %d", len(replay), len(tt.pcrs))
			}
			for pcr, want := range tt.pcrs {
				if got := hex.EncodeToString(replay[pcr]); got != want {
					t.Errorf("PCR %d is %s, want %s", pcr, got, want)
				}
			}
			findings, facts := log.Examine(log.All())
			for i, f := range findings {
				if i >= len(tt.findings) || f.Kind != tt.findings[i] {
					t.Errorf("finding %+v", f)
				}
			}
			if s := facts.SecureBoot; s == nil || s.Enabled != tt.enabled || len(s.DB) == 0 {
				t.Errorf("Secure Boot %+v", s)
			}
			if len(facts.BootLoaders) != tt.loaders {
				t.Errorf("boot loaders %+v", facts.BootLoaders)
			}
			if (tt.cmdline != "") != (len(facts.CommandLines) > 0) {
				t.Errorf("command lines %+v", facts.CommandLines)
			}
			for _, c := range facts.CommandLines {
				// GRUB's is verified; the kernel's stub in PCR 9 gives no text.
				if c.Verified != (c.PCR == 8) || c.Verified && !strings.Contains(c.Text, tt.cmdline) {
					t.Errorf("command line %+v", c)
				}
			}
		})
	}
}
