# frozen_string_literal: true

# What became of the jobs of a chaos run.
#
# @!attribute twice
#   @return [Integer] runs that no exception of the job itself explains
# @!attribute in_hand
#   @return [Integer] jobs that a process had started and not ended, or held in flight, when it was killed
# @!attribute unexplained
#   @return [Array<Integer>] jobs that ran more often than their owners were killed
# @!attribute told
#   @return [Hash{String => Integer}] what the logs say of the way in, and of how many processes
ChaosResult = Struct.new(:way, :kills, :enqueued, :finished, :lost, :lost_retries, :twice, :in_hand, :unexplained,
                         :told, :seconds, keyword_init: true)
