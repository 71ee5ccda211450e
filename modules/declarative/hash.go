package declarative

import (
	"crypto/md5"
	"encoding/hex"
)

// HashRows answers the configuration hash of a document that has no text: the
// MD5 sum of its rows, in hexadecimal. Without rows it is EmptyHash.
func HashRows(rows []Row) string {
	if len(rows) == 0 {
		return EmptyHash
	}
	sum := md5.New()
	for _, row := range rows {
		sum.Write([]byte(row.Table))
		sum.Write(row.at.table.Pack(row.Object))
	}
	return hex.EncodeToString(sum.Sum(nil))
}
