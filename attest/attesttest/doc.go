// Package attesttest makes the evidence that attest verifies: software TPMs
// (swtpm) with endorsement key certificates of a local manufacturer, firmware
// images, and a measured boot that extends the TPM's real PCRs and writes the
// event log and the IMA list that firmware and kernel would have written. It
// serves tests and the device simulator.
//
// Specifications: TCG "PC Client Platform Firmware Profile" (PFP) for what is
// measured where and for the crypto-agile log format; UEFI for the variables;
// the Linux kernel's Documentation/security/IMA-templates.rst for IMA.
//
// It needs the programs swtpm, swtpm_setup and swtpm_localca (Debian and
// Ubuntu: packages swtpm and swtpm-tools).
package attesttest
