// Package reference makes reference values (RFC 9334): the PCR values that a
// machine must quote once it runs a firmware release, so that nobody has to type
// digests.
//
// There are three ways to them, and each says event by event how a value came
// about:
//
//   - Record takes them over from the verified evidence of a golden device.
//   - Predict computes them from a release's files alone, for the PCRs into which
//     firmware measures nothing but constants of the TCG PC Client Platform
//     Firmware Profile (PFP) 1.06: PCR 4, and the PCRs of boot loader and kernel.
//   - Replace takes the event log of a device that ran the previous release, puts
//     the new files' digests in the place of the old ones, and replays it. It
//     works on any firmware, and for the PCRs that firmware shares.
//
// Diff says in which PCR and event two sets differ.
//
// EFI images are measured by their Authenticode digest (Microsoft, Windows
// Authenticode Portable Executable Signature Format 1.0, "Calculating the PE Image
// Hash"; the layout is that of the PE Format specification). Unified kernel images
// are those of the UAPI Group's specification 5, measured as systemd-stub(7) does.
// Everything handed in is foreign: parsing is bounded by the input, and lengths
// that lie are errors.
package reference
