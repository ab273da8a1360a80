package replay

import (
	"encoding/binary"
	"hash/crc32"
)

// A log is a sequence of records and nothing else:
//
//	[id 16] [CRC-32C of "mtwire replay 1" and id, little endian 4]
//
// A record that a crash has cut off, that the disk has damaged or that another
// process's write has split is skipped up to the next offset where the checksum
// fits. So records after it are not lost, and a log with such an end can be
// appended to. Bytes that are no record fit with a probability of 2^-32; the
// random id that is remembered then does no harm.
const recordLength = 16 + 4

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	// salt is the checksum's state after the string, so that blocks of zeros, which
	// file systems leave after a crash, are no records.
	salt = crc32.Checksum([]byte("mtwire replay 1"), castagnoli)
)

// appendRecord appends the record of id to b.
func appendRecord(b []byte, id [16]byte) []byte {
	b = append(b, id[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Update(salt, castagnoli, id[:]))
}

// parse calls add with the id of each record in b, and returns how many bytes need
// not be parsed again. The rest, shorter than a record, may be the beginning of
// one.
func parse(b []byte, add func(id [16]byte)) (n int) {
	for len(b)-n >= recordLength {
		record := b[n : n+recordLength]
		if binary.LittleEndian.Uint32(record[16:]) != crc32.Update(salt, castagnoli, record[:16]) {
			n++
			continue
		}
		add([16]byte(record))
		n += recordLength
	}
	return n
}
