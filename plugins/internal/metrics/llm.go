package metrics

import (
	"strconv"

	"sluice/plugins"
)

// llm counts the requests that went to a language model. They take seconds:
// looking their series up each time does not matter.
type llm struct {
	latency, prompt, completion, promptDist, completionDist view

	first, promptTokens, completionTokens plugins.Getter
	upstreamTime                          plugins.Getter
}

func newLLM(v func(metric string) view) *llm {
	return &llm{
		latency: v("llm_latency"), prompt: v("llm_prompt_tokens"), completion: v("llm_completion_tokens"),
		promptDist: v("llm_prompt_tokens_dist"), completionDist: v("llm_completion_tokens_dist"),
		first:        plugins.Variable("llm_time_to_first_token"),
		promptTokens: plugins.Variable("llm_prompt_tokens"), completionTokens: plugins.Variable("llm_completion_tokens"),
		upstreamTime: plugins.Variable("apisix_upstream_response_time"),
	}
}

func (l *llm) count(c *plugins.Ctx, id *identity) {
	of := func(v view, kind ...string) *Series {
		return v.series(c, append(kind, id.route, id.service, id.consumer, id.node, id.kind, id.asked, id.model)...)
	}
	// An error carries a time, too, but says nothing about how fast a model is.
	first := number(l.first(c))
	if first != 0 && c.Resp != nil && c.Resp.Status < 400 {
		of(l.latency, "total").Observe(int64(number(l.upstreamTime(c)) * 1000))
		if id.kind == "ai_stream" {
			of(l.latency, "ttft").Observe(int64(first * 1000))
		}
	}
	prompt, completion := number(l.promptTokens(c)), number(l.completionTokens(c))
	of(l.prompt).Add(int64(prompt))
	of(l.completion).Add(int64(completion))
	of(l.promptDist).Observe(int64(prompt * 1000))
	of(l.completionDist).Observe(int64(completion * 1000))
}

func number(text string, _ bool) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return f
}
