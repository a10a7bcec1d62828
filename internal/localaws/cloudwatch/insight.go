package cloudwatch

import (
	"regexp"
	"strings"

	"lastwill/internal/localaws/awsapi"
)

// An insight is a query of Metrics Insights that sums all metrics of a name with
// certain dimensions (CloudWatch user guide, "Metrics Insights query components
// and syntax").
type insight struct {
	namespace, name string
	dimensions      []string
	where           map[string]string
}

var (
	selectSum = regexp.MustCompile(`^SELECT SUM\(([A-Za-z0-9.]+)\) FROM SCHEMA\("([^"]+)"((?:, *[A-Za-z]+)*)\)(?: WHERE (.+))?$`)
	equals    = regexp.MustCompile(`^([A-Za-z]+) *= *'([^']*)'$`)
)

func parseInsight(text string) (*insight, error) {
	m := selectSum.FindStringSubmatch(text)
	if m == nil {
		return nil, awsapi.Errorf("ValidationError", "expression %q is not supported by this local endpoint: it knows SELECT SUM(metric) FROM SCHEMA(\"namespace\", dimensions) WHERE dimension = 'value'", text)
	}
	i := &insight{name: m[1], namespace: m[2], where: map[string]string{}}
	for _, d := range strings.Split(m[3], ",")[1:] {
		i.dimensions = append(i.dimensions, strings.TrimSpace(d))
	}
	if m[4] == "" {
		return i, nil
	}
	for _, condition := range strings.Split(m[4], " AND ") {
		c := equals.FindStringSubmatch(strings.TrimSpace(condition))
		if c == nil {
			return nil, awsapi.Errorf("ValidationError", "condition %q is not supported by this local endpoint: it knows dimension = 'value' and AND", condition)
		}
		i.where[c[1]] = c[2]
	}
	return i, nil
}

func (i *insight) selects(m Metric) bool {
	if m.Namespace != i.namespace || m.Name != i.name || len(m.Dimensions) != len(i.dimensions) {
		return false
	}
	for _, d := range i.dimensions {
		if _, ok := m.Dimensions[d]; !ok {
			return false
		}
	}
	for d, value := range i.where {
		if m.Dimensions[d] != value {
			return false
		}
	}
	return true
}
