package eventlog

import "errors"

// GPT is the partition table of the disk that was booted from (PFP section
// 10.4.3, UEFI_GPT_DATA); its digest is recomputed.
type GPT struct {
	DiskGUID   string      `json:"disk_guid"`
	Partitions []Partition `json:"partitions"`
	Verified   bool        `json:"verified"`
}

// Partition is a GPT partition entry (UEFI 2.10 section 5.3.3).
type Partition struct {
	TypeGUID string `json:"type_guid"`
	GUID     string `json:"guid"`
	Name     string `json:"name"` // hostile text
	First    uint64 `json:"first_lba"`
	Last     uint64 `json:"last_lba"`
}

func (b *factBuilder) gpt(e Event) {
	table, err := parseGPT(e.Data)
	if err != nil {
		return
	}
	table.Verified = b.verified(e)
	b.boot().GPT = &table
}

func parseGPT(data []byte) (GPT, error) {
	r := &reader{b: data}
	if string(r.take(8)) != "EFI PART" {
		return GPT{}, errors.New("not a GPT header")
	}
	r.take(48) // revision to last usable LBA
	disk := r.take(16)
	r.take(12) // entries' LBA, their number
	size := r.u32()
	r.u32() // CRC
	count := r.u64()
	if r.err != nil {
		return GPT{}, r.err
	}
	if size < 128 || size%8 != 0 || count > uint64(r.len())/uint64(size) {
		return GPT{}, errors.New("GPT entries exceed the event")
	}
	out := GPT{DiskGUID: formatGUID(disk), Partitions: make([]Partition, 0, int64ToInt(uint32(count)))} //nolint:gosec // bounded by the event
	for range count {
		entry := &reader{b: r.take(int64ToInt(size))}
		p := Partition{TypeGUID: formatGUID(entry.take(16)), GUID: formatGUID(entry.take(16)), First: entry.u64(), Last: entry.u64()}
		entry.u64() // attributes
		p.Name = utf16Text(entry.take(72))
		out.Partitions = append(out.Partitions, p)
	}
	return out, r.err
}
