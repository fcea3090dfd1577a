//! Compute pipelines, one per distinct shader text and number of bindings, kept as long as the device.

use std::collections::HashMap;
use std::sync::Arc;

use wgpu::{
    BindGroupLayout, BindGroupLayoutDescriptor, BindGroupLayoutEntry, BindingType, BufferBindingType, ComputePipeline,
    ComputePipelineDescriptor, PipelineCompilationOptions, PipelineLayoutDescriptor, ShaderModuleDescriptor,
    ShaderRuntimeChecks, ShaderSource, ShaderStages,
};

use crate::ensure;
use crate::error::{Error, Result};

/// The shaders of the device itself: counted in words, with as few workgroups as there are.
const COLLECT: &str = include_str!("collect.wgsl");
const FILL: &str = include_str!("fill.wgsl");
const COPY: &str = include_str!("copy.wgsl");

/// A pipeline with the layout that its bind groups need.
#[derive(Clone)]
pub struct Pipeline {
    pub pipeline: ComputePipeline,
    pub layout: BindGroupLayout,
}

pub struct Pipelines {
    device: wgpu::Device,
    /// Do shaders check their accesses? `XFT_SHADERS=checked` asks for it.
    checked: bool,
    cache: HashMap<(Arc<str>, u32), Pipeline>,
    layouts: HashMap<u32, BindGroupLayout>,
}

impl Pipelines {
    pub fn new(device: wgpu::Device) -> Self {
        let checked = cfg!(debug_assertions) || std::env::var("XFT_SHADERS").is_ok_and(|mode| mode == "checked");
        Self { device, checked, cache: HashMap::new(), layouts: HashMap::new() }
    }

    fn layout(&mut self, bindings: u32) -> BindGroupLayout {
        let device = &self.device;
        let make = || {
            let entries = (0..bindings)
                .map(|binding| BindGroupLayoutEntry {
                    binding,
                    visibility: ShaderStages::COMPUTE,
                    ty: BindingType::Buffer {
                        ty: BufferBindingType::Storage { read_only: false },
                        has_dynamic_offset: false,
                        min_binding_size: None,
                    },
                    count: None,
                })
                .collect::<Vec<_>>();
            device.create_bind_group_layout(&BindGroupLayoutDescriptor { label: None, entries: &entries })
        };
        self.layouts.entry(bindings).or_insert_with(make).clone()
    }

    /// The pipeline of a shader that binds `bindings` storage buffers.
    pub fn get(&mut self, code: &str, bindings: u32) -> Result<Pipeline> {
        let key = (Arc::from(code), bindings);
        if let Some(pipeline) = self.cache.get(&key) {
            return Ok(pipeline.clone());
        }
        let most = self.device.limits().max_storage_buffers_per_shader_stage;
        ensure!(bindings <= most, "wgpu: a shader binds {bindings} buffers, the adapter allows {most}");
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor = ShaderModuleDescriptor { label: None, source: ShaderSource::Wgsl(code.into()) };
        let module = if self.checked {
            self.device.create_shader_module(descriptor)
        } else {
            // SAFETY: our compiler printed the shader: affine addresses lie within their buffers, every run-time
            // index is tested before it is used, loops end, no divisor is 0.
            unsafe { self.device.create_shader_module_trusted(descriptor, ShaderRuntimeChecks::unchecked()) }
        };
        let layout = self.layout(bindings);
        let groups = [Some(&layout)];
        let pipeline_layout = self.device.create_pipeline_layout(&PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &groups,
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..PipelineCompilationOptions::default()
            },
            cache: None,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(Error(format!("wgpu: a shader does not compile: {error}\n{code}")));
        }
        let pipeline = Pipeline { pipeline, layout };
        self.cache.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// Gathers the status words of a run. Bindings: words, steps, the device's word.
    pub fn collect(&mut self) -> Result<Pipeline> {
        self.get(COLLECT, 3)
    }

    /// Fills a buffer with NaN.
    pub fn fill(&mut self) -> Result<Pipeline> {
        self.get(FILL, 1)
    }

    /// Copies words. Bindings: from, to.
    pub fn copy(&mut self) -> Result<Pipeline> {
        self.get(COPY, 2)
    }
}
