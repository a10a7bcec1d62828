package iotsql

func (x *cast) eval(e *env) value { return x.x.eval(e) }
