// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"encoding/json"
	"os"
	"testing"
)

// vectorFile holds the parts of the golden vectors that are replayed here.
type vectorFile struct {
	Keys struct {
		Server     keyPair `json:"server"`
		ClientA    keyPair `json:"client_a"`
		ClientB    keyPair `json:"client_b"`
		MeshPeer   keyPair `json:"mesh_peer"`
		MeshPSKHex string  `json:"mesh_psk_hex"`
	}
	ServerKeyFrameHex string           `json:"server_key_frame_hex"`
	HTTP101           string           `json:"http_101_response"`
	ClientInfo        []infoVector     `json:"client_info"`
	BadFrames         []frameVector    `json:"client_info_bad_frames"`
	Frames            []frameVector    `json:"frames"`
	DiscoClassifier   []discoVector    `json:"disco_classifier"`
	STUN              stunVectors      `json:"stun"`
	STUNVariants      []stunVector     `json:"stun_variants"`
	Transcripts       []map[string]any `json:"transcripts"`
}

type keyPair struct{ Priv, Pub string }

type infoVector struct {
	Name, JSON, Expect string
	ClientPub          string `json:"client_pub"`
	ClientPriv         string `json:"client_priv"`
	FrameHex           string `json:"frame_hex"`
	Parsed             struct {
		IsProber   bool `json:"isProber"`
		MeshKeySet bool `json:"meshKeySet"`
	}
}

type frameVector struct {
	Name, Dir, Hex, Expect string
	FrameHex               string `json:"frame_hex"`
}

type discoVector struct {
	Hex     string
	IsDisco bool `json:"is_disco"`
}

type stunVector struct{ Name, Hex, Result string }

type stunVectors struct {
	RequestHex string `json:"request_hex"`
	TxID       string `json:"txid"`
	Bad        []stunVector
}

func vectors(t testing.TB) *vectorFile {
	t.Helper()
	b, err := os.ReadFile("../vectors/derp_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	v := new(vectorFile)
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
	return v
}
