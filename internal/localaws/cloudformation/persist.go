package cloudformation

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MarshalJSON returns all stacks, also those that an operation is changing.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.stacks)
}

// UnmarshalJSON brings saved stacks back. Operations that were under way go on
// once Resume is called.
func (s *Service) UnmarshalJSON(b []byte) error {
	stacks := map[string]*stack{}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber() // as in templates
	if err := dec.Decode(&stacks); err != nil {
		return fmt.Errorf("saved stacks: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range stacks {
		st.idle = make(chan struct{})
		close(st.idle)
	}
	s.stacks = stacks
	return nil
}

// Resume goes on with the operations that were under way when the state was saved.
func (s *Service) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.stacks {
		if st.Pending == nil {
			continue
		}
		run, err := s.resume(st)
		if err != nil {
			return fmt.Errorf("stack %s, which was %s: %w", st.Name, st.Status, err)
		}
		s.run(st, run)
	}
	return nil
}

// resume finds what is left to do for a stack; s.mu is held.
func (s *Service) resume(st *stack) (func(*operation), error) {
	switch st.Status {
	case "DELETE_IN_PROGRESS":
		return (*operation).delete, nil
	case "ROLLBACK_IN_PROGRESS":
		return (*operation).rollBackCreate, nil
	case "UPDATE_ROLLBACK_IN_PROGRESS":
		return (*operation).rollBackUpdate, nil
	case "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS":
		return func(op *operation) { op.finish("UPDATE_COMPLETE") }, nil
	case "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS":
		return func(op *operation) { op.finish("UPDATE_ROLLBACK_COMPLETE") }, nil
	}
	target, err := s.target(st, st.Pending.Input)
	if err != nil {
		return nil, err
	}
	if st.Status == "CREATE_IN_PROGRESS" {
		return func(op *operation) { op.create(target) }, nil
	}
	return func(op *operation) { op.update(target) }, nil
}
