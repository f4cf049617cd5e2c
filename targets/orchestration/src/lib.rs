//! The orchestration target of uplift.
