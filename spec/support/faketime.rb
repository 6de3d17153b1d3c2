# frozen_string_literal: true

require "rbconfig"

# libfaketime, which steps the wall clock of one process. bin/setup asks here, too.
module Faketime
  FILES = "/usr/lib/*/faketime/libfaketimeMT.so.1"

  # @return [String, nil] the library that works here
  def self.library
    @library ||= first_that_works(Dir[FILES])
  end

  # @param files [Array<String>]
  # @return [String, nil] the first that steps the clock of this Ruby; one of another architecture does not
  def self.first_that_works(files)
    files.find { |file| year_under(file) == 2001 }
  end

  def self.year_under(file)
    environment = { "LD_PRELOAD" => file, "FAKETIME" => "@2001-06-01 00:00:00" }
    IO.popen([environment, RbConfig.ruby, "--disable=gems", "-e", "print Time.now.year"], err: File::NULL, &:read).to_i
  end
  private_class_method :year_under
end
