package loadgen

// normalPriority is the name of a priority that could not be changed.
const normalPriority = "normal"
