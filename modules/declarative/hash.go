package declarative

import (
	"crypto/md5"
	"encoding/hex"
)

// HashOf answers the configuration hash of a document that was resolved into
// these rows: the MD5 sum of its text, or of the rows if it has none, in
// hexadecimal. Without rows it is EmptyHash, whatever the text says.
func (d *Document) HashOf(rows []Row) string {
	if len(rows) == 0 {
		return EmptyHash
	}
	if d.hash != "" {
		return d.hash
	}
	sum := md5.New()
	for _, row := range rows {
		sum.Write([]byte(row.Table))
		sum.Write(row.at.table.Pack(row.Object))
	}
	return hex.EncodeToString(sum.Sum(nil))
}
