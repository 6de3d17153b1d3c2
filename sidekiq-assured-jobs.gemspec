# frozen_string_literal: true

require_relative "lib/sidekiq/assured_jobs/version"

Gem::Specification.new do |spec|
  spec.name = "sidekiq-assured-jobs"
  spec.version = Sidekiq::AssuredJobs::VERSION
  spec.authors = ["The sidekiq-assured-jobs authors"]
  spec.summary = "Brings back the jobs of killed Sidekiq processes"
  spec.description = <<~TEXT
    Records which jobs a Sidekiq process has in hand. When a process dies (SIGKILL, out of memory, lost pod),
    another one puts its jobs back into their queues. A Ruby layer over a native extension in Rust.
  TEXT
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.1"

  spec.files = Dir[
    "lib/**/*.rb", "ext/**/*.{rs,rb,toml,lua}", "Cargo.{toml,lock}", "docs/*.md", "README.md", "CHANGELOG.md", "LICENSE"
  ]
  spec.require_paths = ["lib"]
  spec.extensions = ["ext/sidekiq_assured_jobs/extconf.rb"]

  spec.metadata = { "rubygems_mfa_required" => "true" }

  spec.add_dependency "sidekiq", ">= 6.0", "< 9"
end
