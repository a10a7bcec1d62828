package localaws

import "lastwill/internal/localaws/logs"

type logGroupProperties struct {
	LogGroupName    string
	RetentionInDays int
	Tags            tagList
}

func (s *Server) createLogGroup(r request) (result, error) {
	p, err := decode[logGroupProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	g, err := s.Logs.Create(named(p.LogGroupName, r, 512), p.RetentionInDays, p.Tags.with(r.Tags))
	return logGroupResult(g), err
}

func (s *Server) updateLogGroup(r request) (result, error) {
	p, err := decode[logGroupProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	g, err := s.Logs.Update(r.PhysicalID, p.RetentionInDays, p.Tags.with(r.Tags))
	return logGroupResult(g), err
}

func logGroupResult(g logs.Group) result {
	return result{PhysicalID: g.Name, Attributes: map[string]any{"Arn": g.ARN + ":*"}}
}
