package nix

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"slices"

	"ferry/internal/microvm"
)

// FilePath is the path that AddFile gives a file, which is known before: Nix names
// what is added by its content (Nix manual, "Complete Store Path Calculation").
func FilePath(name string, content []byte) microvm.StorePath {
	var archive []byte // (Nix manual, "Nix Archive (NAR) format")
	for _, word := range []string{"nix-archive-1", "(", "type", "regular", "contents", string(content), ")"} {
		archive = binary.LittleEndian.AppendUint64(archive, uint64(len(word)))
		archive = append(archive, word...)
		archive = append(archive, make([]byte, -len(word)&7)...)
	}
	sum := sha256.Sum256(archive)
	sum = sha256.Sum256([]byte("source:sha256:" + hex.EncodeToString(sum[:]) + ":" + microvm.StoreDir + ":" + name))
	return microvm.StorePath(microvm.StoreDir + "/" + base32(fold(sum)) + "-" + name)
}

// fold makes 160 bits of a hash.
func fold(sum [sha256.Size]byte) [20]byte {
	var short [20]byte
	for i, b := range sum {
		short[i%len(short)] ^= b
	}
	return short
}

// base32 is Nix's: the last digit first, with an alphabet of its own.
func base32(b [20]byte) string {
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	slices.Reverse(b[:]) // the first byte is the lowest
	n, text := new(big.Int).SetBytes(b[:]), make([]byte, 32)
	for i := range slices.Backward(text) {
		digit := new(big.Int)
		n.DivMod(n, big.NewInt(32), digit)
		text[i] = digits[digit.Int64()]
	}
	return string(text)
}
