# frozen_string_literal: true

# Two capsules, one of which gets another fetcher late.

require_relative "capsules_app"
require_relative "fetch_app"
