package sim

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"troth/attest/attesttest"
	"troth/internal/api"
)

// patience with the slowest step of the demonstration.
const patience = time.Minute

// connect makes the client with which the demonstration looks at the service,
// from the context that troth login kept.
func (d *demo) connect() error {
	pem, err := os.ReadFile(d.service.CAFile)
	if err != nil {
		return fmt.Errorf("read CA: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	token, err := contextToken(d.path("cli.yaml"))
	if err != nil {
		return err
	}
	d.client = &api.Client{Base: d.service.URL, Token: token, HTTP: &http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}},
	}}
	return nil
}

func (d *demo) get(ctx context.Context, path string, out any) error {
	return d.client.Do(ctx, http.MethodGet, path, nil, out)
}

func (d *demo) fleet(ctx context.Context) (map[string]api.Device, error) {
	var list api.DeviceList
	if err := d.get(ctx, api.PathDevices, &list); err != nil {
		return nil, err
	}
	byName := map[string]api.Device{}
	for _, device := range list.Devices {
		byName[device.Name] = device
	}
	return byName, nil
}

func (d *demo) knowDevices(ctx context.Context) error {
	d.act("Make eight devices known", "By the root of their TPMs' manufacturer, and by the hashes of their endorsement keys.")
	var err error
	if d.maker, err = attesttest.NewManufacturer(d.path("makers", "acme"), "acme"); err != nil {
		return err
	}
	if err := d.manufacture(ctx); err != nil {
		return err
	}
	d.say("%d software TPMs made, each with an EK certificate of the manufacturer Acme", len(d.devices))
	roots, err := d.maker.RootsPEM()
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.path("acme-roots.pem"), roots, 0o600); err != nil {
		return fmt.Errorf("write roots: %w", err)
	}
	if err := d.troth(ctx, shown, "manufacturer", "add", "acme", d.path("acme-roots.pem")); err != nil {
		return err
	}
	// Only the meters are registered: the gateways come in by their maker alone.
	csv := "ek_hash,name,model,labels\n"
	for _, m := range demoFleet {
		if m.model != meter {
			continue
		}
		ek, err := d.devices[m.name].EK(ctx)
		if err != nil {
			return err
		}
		hash := sha256.Sum256(ek.Public)
		csv += hex.EncodeToString(hash[:]) + "," + m.name + "," + m.model + ",site=north\n"
	}
	if err := os.WriteFile(d.path("meters.csv"), []byte(csv), 0o600); err != nil {
		return fmt.Errorf("write registrations: %w", err)
	}
	return d.troth(ctx, shown, "device", "register", "--csv", d.path("meters.csv"))
}

// manufacture makes the devices, two at a time.
func (d *demo) manufacture(ctx context.Context) error {
	type made struct {
		device *Device
		err    error
	}
	results, places := make(chan made), make(chan struct{}, 2)
	images := map[string][]byte{}
	for _, model := range []string{meter, gateway} {
		image, _, err := Image(model, "1.0.0")
		if err != nil {
			return err
		}
		images[model] = image
	}
	for _, m := range demoFleet {
		go func() {
			places <- struct{}{}
			defer func() { <-places }()
			device, err := NewDevice(ctx, d.maker, d.deviceConfig(m.name, m.model, images[m.model]))
			results <- made{device, err}
		}()
	}
	var errs []error
	for range demoFleet {
		r := <-results
		if r.err != nil {
			errs = append(errs, r.err)
			continue
		}
		d.devices[r.device.Name] = r.device
	}
	return errors.Join(errs...)
}

func (d *demo) deviceConfig(name, model string, image []byte) DeviceConfig {
	return DeviceConfig{
		Dir: d.path("devices", name), Name: name, Model: model, Image: image, Counter: 1,
		Server: d.service.URL, ServerCA: d.service.CAFile, TUFRoot: d.path("trothd", "tuf", "metadata", "1.root.json"), Log: d.log,
		Healthy: func(version string) error {
			if version != "1.0.0" && name == d.unhealthy.Load() {
				return errors.New("the metering daemon does not start")
			}
			return nil
		},
	}
}

// chooseUnhealthy picks a meter of the second wave: waves go by device id.
func (d *demo) chooseUnhealthy(ctx context.Context) (string, error) {
	fleet, err := d.fleet(ctx)
	if err != nil {
		return "", err
	}
	last := ""
	for name, device := range fleet {
		if device.Model == meter && name != altered && (last == "" || device.ID > fleet[last].ID) {
			last = name
		}
	}
	d.unhealthy.Store(last)
	return last, nil
}

func (d *demo) enrolFleet(ctx context.Context) error {
	d.act("Switch the fleet on", "Each device proves by its TPM who it is and what it booted, and gets a certificate for 24 hours\n    whose private key never leaves that TPM.")
	for _, device := range d.devices {
		device.PowerOn()
	}
	err := d.until(ctx, "all eight devices are enrolled and compliant", 2*patience, func() (string, bool) {
		fleet, err := d.fleet(ctx)
		if err != nil {
			return err.Error(), false
		}
		active, compliant := 0, 0
		for _, device := range fleet {
			if device.Lifecycle == "active" {
				active++
			}
			if device.Verdict == "compliant" {
				compliant++
			}
		}
		return fmt.Sprintf("%d enrolled, %d compliant", active, compliant), compliant == len(demoFleet)
	})
	if err != nil {
		return err
	}
	return d.troth(ctx, shown, "device", "list")
}

func (d *demo) refuseStranger(ctx context.Context) error {
	d.act("A stranger knocks", "A device with a genuine TPM of a maker whom nobody trusts here.")
	maker, err := attesttest.NewManufacturer(d.path("makers", "nobody"), "nobody")
	if err != nil {
		return err
	}
	image, _, err := Image(meter, "1.0.0")
	if err != nil {
		return err
	}
	stranger, err := NewDevice(ctx, maker, d.deviceConfig("stranger", meter, image))
	if err != nil {
		return err
	}
	d.devices["stranger"] = stranger
	request, err := stranger.Introduction(ctx)
	if err != nil {
		return err
	}
	err = d.client.Do(ctx, http.MethodPost, api.PathEnrollments, request, nil)
	d.holds(api.CodeOf(err) == "ek_unknown_manufacturer", "it is refused with code %q", api.CodeOf(err))
	fleet, err := d.fleet(ctx)
	if err != nil {
		return err
	}
	d.holds(len(fleet) == len(demoFleet), "nothing of it is kept: the fleet still has %d devices", len(fleet))
	delete(d.devices, "stranger")
	return stranger.Close()
}

// may asks whether a device may do something now; code is why not.
func (d *demo) may(ctx context.Context, device api.Device) (yes bool, code string) {
	q := url.Values{"device": {device.ID}, "action": {"publish"}, "resource": {"mqtt://readings"}}
	err := d.get(ctx, api.PathAuthz+"?"+q.Encode(), &api.Access{})
	return err == nil, api.CodeOf(err)
}

func (d *demo) alterBootLoader(ctx context.Context) error {
	d.act("Somebody alters a boot loader", "The device still says that all is well. Its TPM does not.")
	fleet, err := d.fleet(ctx)
	if err != nil {
		return err
	}
	yes, _ := d.may(ctx, fleet[altered])
	d.holds(yes, "before: %s may publish readings (/authz says yes)", altered)
	culprit := d.devices[altered]
	if err := culprit.PowerOff(); err != nil {
		return err
	}
	if err := culprit.AlterBootLoader(); err != nil {
		return err
	}
	culprit.PowerOn()
	err = d.until(ctx, "caught at its first check-in: "+altered+" is noncompliant and quarantined", patience, func() (string, bool) {
		fleet, err := d.fleet(ctx)
		if err != nil {
			return err.Error(), false
		}
		c := fleet[altered]
		return altered + " is " + c.Lifecycle + ", " + c.Verdict, c.Lifecycle == "quarantined" && c.Verdict == "noncompliant"
	})
	if err != nil {
		return err
	}
	if err := d.troth(ctx, shown, "alert", "list"); err != nil {
		return err
	}
	yes, code := d.may(ctx, fleet[altered])
	d.holds(!yes, "after: /authz says no (%s)", code)
	fleet, err = d.fleet(ctx)
	if err != nil {
		return err
	}
	others := 0
	for name, device := range fleet {
		if name != altered && device.Verdict == "compliant" {
			others++
		}
	}
	d.holds(others == len(demoFleet)-1, "the other %d devices are not touched", others)
	return nil
}

func (d *demo) publishPatch(ctx context.Context) error {
	d.act("A patch is published", "Policy sees from signed metadata who needs it, and proposes the rollout.")
	if err := d.publish(ctx, meter, "1.1.0", "2", "--security", "--notes", "fixes a flaw in the meter protocol"); err != nil {
		return err
	}
	err := d.until(ctx, "a rollout of "+meter+" to 1.1.0 is proposed, for a person to start", patience, func() (string, bool) {
		r, ok := d.rollout(ctx)
		return "no proposal yet", ok && r.State == "proposed"
	})
	if err != nil {
		return err
	}
	return d.troth(ctx, shown, "rollout", "list")
}

func (d *demo) rollout(ctx context.Context) (api.Rollout, bool) {
	var list api.RolloutList
	if err := d.get(ctx, api.PathRollouts, &list); err != nil || len(list.Rollouts) == 0 {
		return api.Rollout{}, false
	}
	var r api.Rollout
	err := d.get(ctx, api.Path(api.PathRollout, list.Rollouts[0].ID), &r)
	return r, err == nil
}

func (d *demo) rollOut(ctx context.Context) error {
	d.act("The patch is rolled out in two waves", "A device counts as done only when a fresh quote shows the new release's PCR values.")
	unhealthy, err := d.chooseUnhealthy(ctx)
	if err != nil {
		return err
	}
	r, _ := d.rollout(ctx)
	if err := d.troth(ctx, shown, "rollout", "start", r.ID, "--waves", "20,100", "--max-failures", "40", "--soak", "2s", "--timeout", "2m"); err != nil {
		return err
	}
	err = d.until(ctx, "the rollout comes to an end", 3*patience, func() (string, bool) {
		r, _ = d.rollout(ctx)
		return progressOf(r), r.State != "running"
	})
	if err != nil {
		return err
	}
	d.holds(r.State == "completed", "it is %s", r.State)
	states := map[string]string{}
	waves := map[int]int{}
	for _, m := range r.Members {
		states[m.Name] = m.State
		waves[m.Wave]++
	}
	d.holds(len(waves) == 2, "it went in two waves, of %d and %d devices", waves[1], waves[2])
	d.holds(states[unhealthy] == "rolled-back", "%s failed its health check and went back to its old slot", unhealthy)
	d.holds(states[altered] == "", "quarantined %s was left out", altered)
	booted, _ := d.devices[unhealthy].Booted()
	d.holds(booted == "1.0.0", "%s really runs 1.0.0 again", unhealthy)
	return d.troth(ctx, shown, "rollout", "get", r.ID)
}

// progressOf says in a line where the members of a rollout are.
func progressOf(r api.Rollout) string {
	count := map[string]int{}
	for _, m := range r.Members {
		count[m.State]++
	}
	parts := []string{}
	for _, state := range []string{"pending", "downloading", "installing", "rebooting", "verifying", "success", "failure", "rolled-back"} {
		if count[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	return fmt.Sprintf("%s, wave %d of %d: %s", r.State, r.Wave, len(r.Waves), strings.Join(parts, ", "))
}

func (d *demo) showFleet(ctx context.Context) error {
	d.act("The fleet afterwards", "Compliant but for the two culprits, and each says why.")
	err := d.until(ctx, "six devices are compliant, the four patched ones on 1.1.0", patience, func() (string, bool) {
		fleet, err := d.fleet(ctx)
		if err != nil {
			return err.Error(), false
		}
		compliant, patched := 0, 0
		for _, device := range fleet {
			if device.Verdict == "compliant" {
				compliant++
				if device.Firmware == "1.1.0" {
					patched++
				}
			}
		}
		return fmt.Sprintf("%d compliant, %d on 1.1.0", compliant, patched), compliant == 6 && patched == 4
	})
	if err != nil {
		return err
	}
	if err := d.troth(ctx, shown, "device", "list"); err != nil {
		return err
	}
	for _, name := range []string{altered, d.unhealthy.Load().(string)} {
		var device api.Device
		if err := d.get(ctx, api.Path(api.PathDevice, name), &device); err != nil {
			return err
		}
		d.holds(device.Verdict == "noncompliant" && device.Posture != nil, "%s is noncompliant:", name)
		if device.Posture == nil {
			continue
		}
		for _, c := range device.Posture.Controls {
			if c.Outcome != "pass" && c.Outcome != "not_applicable" {
				d.say("  %s: %s", c.ID, c.Reason)
			}
		}
	}
	return nil
}

func (d *demo) writeReport(ctx context.Context) error {
	d.act("The compliance report", "A line for each device and control, with the digest of the evidence behind it.")
	html, document := d.path("report.html"), d.path("report.json")
	if err := d.troth(ctx, quiet, "report", "compliance", "--output", html); err != nil {
		return err
	}
	if err := d.troth(ctx, quiet, "report", "compliance", "--output", document); err != nil {
		return err
	}
	content, err := os.ReadFile(document)
	if err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	var r struct {
		Population struct {
			Enrolled  int `json:"enrolled"`
			Compliant int `json:"compliant"`
		} `json:"population"`
		Controls []json.RawMessage `json:"controls"`
		Lines    []struct {
			Device   string `json:"device"`
			Evidence string `json:"evidence"`
		} `json:"lines"`
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	devices, evidenced := map[string]bool{}, 0
	for _, l := range r.Lines {
		devices[l.Device] = true
		if len(l.Evidence) == 2*sha256.Size {
			evidenced++
		}
	}
	d.holds(r.Population.Enrolled == len(demoFleet) && r.Population.Compliant == 6, "it counts %d devices, %d compliant", r.Population.Enrolled, r.Population.Compliant)
	d.holds(len(r.Lines) == len(demoFleet)*len(r.Controls) && evidenced == len(r.Lines) && len(devices) == len(demoFleet),
		"%d lines for %d devices and %d controls, each with its evidence", len(r.Lines), len(devices), len(r.Controls))
	d.say("%s", html)
	d.say("%s", document)
	return nil
}

// explain tells how to look around in a demonstration that is left running.
func (d *demo) explain() {
	d.printf(`
Everything is left running. In another terminal:

  export TROTH_CONFIG=%s PATH=%s:$PATH
  troth device get %s
  troth alert list
  troth event list

The logs are %s and %s.
Ctrl-C ends it all.
`, d.path("cli.yaml"), d.Bin, altered, filepath.Join(d.Dir, "trothd.log"), filepath.Join(d.Dir, "devices.log"))
}
