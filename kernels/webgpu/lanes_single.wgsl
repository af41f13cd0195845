// One invocation owns whole rows: nothing crosses lanes.
fn sum_to_owner(partial: ptr<function, Scores>, own: ptr<function, OwnScores>) { *own = *partial; }
fn share_scores(own: ptr<function, OwnScores>, all: ptr<function, Scores>) { *all = *own; }
fn share_rows(own: ptr<function, OwnRows>, all: ptr<function, RowValues>) { *all = *own; }
fn max_of_lanes(values: ptr<function, OwnRows>) {}
fn sum_of_lanes(values: ptr<function, OwnRows>) {}
