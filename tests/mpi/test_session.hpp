#pragma once

#include "parallel/session.hpp"

/// The session of the test program: one rank, or as many as mpirun started.
stanley::Session& test_session();
