package all

//go:generate go run sluice/plugins/internal/gen ..
