Feature: Files cross a whole network: server, mirror, client, dispatcher over sftp, fetcher, and remove_it behind them

  Background:
    Given the whole network of the examples

  Scenario: Files come through, and nothing stays behind
    When 20 files are written at the centre
    Then within 60 seconds 20 files are with the user, as they were written
    And within 60 seconds 20 files are in the archive, as they were written
    And within 60 seconds nothing is left at the edge
    And within 60 seconds remove_it has cleared the service

  Scenario: A program in the middle is killed while files are on their way
    When 20 files are written at the centre
    And the mirror is killed and started again
    And 20 files are written at the centre
    And the dispatcher is killed and started again
    Then within 60 seconds 40 files are with the user, as they were written
