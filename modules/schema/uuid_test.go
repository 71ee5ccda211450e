package schema

import "testing"

func TestIsUUID(t *testing.T) {
	for s, want := range map[string]bool{
		"7f145bf9-0dce-4f91-98eb-debbce4b9f6b":  true,
		"7F145BF9-0DCE-4F91-98EB-DEBBCE4B9F6B":  true,
		"00000000-0000-0000-0000-000000000001":  true,
		"00000000-0000-0000-0000-000000000000":  false, // stands for none
		"7f145bf90dce4f9198ebdebbce4b9f6b":      false,
		"7f145bf9-0dce-4f91-98eb-debbce4b9f6":   false,
		"7f145bf9-0dce-4f91-98eb-debbce4b9f6g":  false,
		"{7f145bf9-0dce-4f91-98eb-debbce4b9f6b": false,
	} {
		if got := isUUID(s); got != want {
			t.Errorf("isUUID(%q) = %t, want %t", s, got, want)
		}
	}
}
