module benchpeer

go 1.25
