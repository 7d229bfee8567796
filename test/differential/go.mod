module troth/test/differential

go 1.26.0

require (
	github.com/google/go-attestation v0.6.4
	github.com/google/go-eventlog v0.0.3-0.20261001001437-1991f15bc4b0
	github.com/google/go-tpm v0.9.8
	github.com/google/go-tpm-tools v0.4.11
	google.golang.org/protobuf v1.36.12
	troth v0.0.0
)

require (
	github.com/GoogleCloudPlatform/confidential-space/server v0.0.0-20260915221818-a6c0685fb9fc // indirect
	github.com/google/go-sev-guest v0.14.0 // indirect
	github.com/google/go-tdx-guest v0.3.2-0.20250814004405-ffb0869e6f4d // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace troth => ../..

replace github.com/google/go-eventlog => github.com/google/go-eventlog v0.0.2
