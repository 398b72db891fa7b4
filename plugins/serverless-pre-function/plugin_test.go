package serverlessprefunction

import (
	"testing"

	"sluice/plugins/internal/plugintest"
)

func TestFunctions(t *testing.T) { plugintest.Serverless(t, &Plugin) }
