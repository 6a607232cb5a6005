Feature: A mirror passes files on from one network into another

  Background:
    Given a server, a mirror and a client with the example configurations

  Scenario: A file crosses, and the mirror keeps it no longer than it is needed
    When file 1 is written with "hello"
    Then within 15 seconds file 1 has been moved with "hello"
    And within 10 seconds the client has published file 1
    And within 15 seconds the mirror keeps nothing
    And within 10 seconds the journal of the server has file 1 as acknowledged

  Scenario: Nothing is fetched before somebody asks for it
    When the client is killed
    And files 1 to 10 are written
    Then within 15 seconds the journal of the mirror has file 10 as announced
    And the mirror has fetched nothing
    When the client is started again
    Then within 18 seconds files 1 to 10 have been moved
    And within 15 seconds the mirror keeps nothing

  Scenario: The mirror is killed while files come
    When files 1 to 50 are written
    And the mirror is killed
    And files 51 to 60 are written
    And the mirror is started again
    Then within 40 seconds files 1 to 60 have been moved
    And within 10 seconds files 1 to 60 are published in the journal of the client
    And within 15 seconds the mirror keeps nothing
