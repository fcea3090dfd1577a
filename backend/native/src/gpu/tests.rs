//! Tests of the wgpu device; each is silent where there is no adapter.
