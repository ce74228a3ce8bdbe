//! HTTP/1.1 connections over any stream.
